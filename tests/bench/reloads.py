"""A thousand reloads of the policy file, good and bad mixed, under load: what failed, and what was of two versions.

A real gateway on its socket, reloading by the code of its own poll; scripted provider and client are in the same
process. `python -m tests.bench.reloads`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from gateway.clock import SystemClock
from gateway.stores.embedded import EmbeddedRedis
from gateway.worker import refresh_policies
from policies.book import compile_set
from tests.http.running import MODELS as FILE
from tests.http.running import Gateway, running_gateway

MODELS = ("small", "large")
GROUPS = frozenset(MODELS)
BAD = (
    "version: 1\npolicy: default\nroutess: []\n",
    "version: 1\npolicy: default\nroutes: [{name: x, match: {any: true}, candidates: [nobody]}]\n",
    ":\n  - [",
    "",
)
GOOD = """
version: 1
policy: default
routes: [{{name: r{number}, match: {{any: true}}, candidates: [{model}], cache: {{exact_ttl: 0}}}}]
"""


@dataclass(slots=True)
class Texts:
    """The files there have been: what each version's answers must say."""

    directory: Path
    meant: dict[str, tuple[str, str]] = field(default_factory=dict)

    def good(self, number: int) -> str:
        """Return a new good file's text and remember what its route and model are."""
        model = MODELS[number % len(MODELS)]
        text = GOOD.format(number=number, model=model)
        (policy,) = compile_set({"default.yaml": text}, groups=GROUPS, directory=self.directory).policies
        self.meant[f"default@{policy.version}"] = (f"r{number}", model)
        return text


@dataclass(slots=True)
class Counts:
    """What came of it."""

    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    split: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    good: int = 0
    bad: int = 0

    def note(self, status: int, headers: Mapping[str, str], asked: str, texts: Texts) -> None:
        """Count one answer; it must be one file's from its headers to the model that was called."""
        self.requests += 1
        if status != 200:
            self.failed[str(status)] += 1
            return
        version = headers["x-foreword-policy"]
        self.seen.add(version)
        told = (headers["x-foreword-route"], headers["x-foreword-model"])
        if texts.meant.get(version) != told:
            self.split.append(f"{asked}: {version} says {texts.meant.get(version)}, the answer {told}")


async def load(
    session: aiohttp.ClientSession, url: str, *, texts: Texts, counts: Counts, ends: asyncio.Event, rate: float
) -> None:
    """Ask `rate` times a second, however long answers take, until `ends`."""
    clock = SystemClock()
    began = clock.monotonic()
    async with asyncio.TaskGroup() as group:
        number = 0
        while not ends.is_set():
            group.create_task(_ask(session, url, number, texts, counts))
            number += 1
            await asyncio.sleep(max(0.0, began + number / rate - clock.monotonic()))


async def _ask(session: aiohttp.ClientSession, url: str, number: int, texts: Texts, counts: Counts) -> None:
    body = {"model": MODELS[0], "messages": [{"role": "user", "content": f"q{number}"}], "stream": number % 2 == 0}
    try:
        async with session.post(url + "/v1/chat/completions", json=body) as answer:
            await answer.read()
            counts.note(answer.status, answer.headers, f"q{number}", texts)
    except aiohttp.ClientError as error:
        counts.requests += 1
        counts.failed[type(error).__name__] += 1


async def edits(
    file: Path, *, texts: Texts, counts: Counts, many: int, seed: int, reload: Callable[[], Awaitable[None]]
) -> None:
    """Write `many` files, a third of them bad, and let the gateway read each."""
    rng = random.Random(seed)
    for number in range(many):
        is_bad = rng.random() < 1 / 3
        text = rng.choice(BAD) if is_bad else texts.good(number)
        await asyncio.to_thread(replace, file, text)
        counts.bad += is_bad
        counts.good += not is_bad
        await reload()


def replace(file: Path, text: str) -> None:
    """Put a file in place of another in one step, as editors and ConfigMaps do; blocks."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.replace(file)


async def play(gateway: Gateway, texts: Texts, *, many: int, rate: float, seed: int) -> Counts:
    """Reload a running gateway `many` times, `rate` requests a second all the while."""
    counts, ends = Counts(), asyncio.Event()
    worker = gateway.worker
    async with asyncio.TaskGroup() as group:
        group.create_task(load(gateway.session, gateway.url, texts=texts, counts=counts, ends=ends, rate=rate))
        await edits(
            texts.directory / "default.yaml",
            texts=texts,
            counts=counts,
            many=many,
            seed=seed,
            reload=lambda: refresh_policies(worker.services, worker.spend),
        )
        ends.set()
    return counts


async def run(home: Path, redis_url: str, *, many: int, rate: float, seed: int) -> Counts:
    """Start a gateway and play."""
    texts = Texts(home)
    async with running_gateway(home, redis_url, models=FILE, policy=texts.good(0), settings={}) as gateway:
        return await play(gateway, texts, many=many, rate=rate, seed=seed)


def main() -> int:
    """Run it and print the counts; 1 where a request failed or was of two versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        redis = EmbeddedRedis.start(Path(directory) / "redis")
        wanted = run(Path(directory) / "home", redis.url, many=options.reloads, rate=options.rate, seed=options.seed)
        counts = asyncio.run(wanted)
        redis.stop()
    shown = {
        "reloads": counts.good + counts.bad,
        "good": counts.good,
        "bad": counts.bad,
        "requests": counts.requests,
        "failed": dict(counts.failed),
        "of two versions": len(counts.split),
        "versions that answered": len(counts.seen),
    }
    sys.stdout.write(json.dumps(shown) + "\n")
    for line in counts.split[:10]:
        sys.stdout.write(line + "\n")
    return 1 if counts.failed or counts.split else 0


if __name__ == "__main__":
    raise SystemExit(main())
