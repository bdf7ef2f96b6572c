"""Random faults, leaving clients and Redis restarts, all at once, and what is left afterwards.

`python -m tests.faults.soak --seconds 120`; also run for a moment by test_soak.py. Drives a whole gateway over sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from gateway.errands import IDLE
from gateway.ledger import read_ledger
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from tests.faults.residue import Memory, open_descriptors
from tests.faults.row import OPENAI_TEXT
from tests.faults.running import Got
from tests.faults.stores import kill, own_redis, told
from tests.http.folding import idle_meters
from tests.http.running import MODELS, POLICY, Gateway, running_gateway
from tests.provider import Reply

CLIENTS = 24
FAULT_SHARE = 0.2
LEAVING_SHARE = 0.1
QUESTIONS = (5, 2_000, 10**9, 10**9, 10**9)
"""Mostly new ones: only those make the whole way."""
RESTART_EVERY_S = 4.0
MAX_BYTES_PER_REQUEST = 64
SLACK_KIB = 4096
TOLD_OF, GONE = 1, 2
SETTINGS: dict[str, str | bool] = {
    "first_token_timeout_s": "0.3",
    "answer_timeout_s": "0.3",
    "gap_timeout_s": "0.2",
    "tail_timeout_s": "0.1",
    "retry_backoff_s": "0.02",
    "redis_timeout_s": "0.2",
    "memory_cache_bytes": "4MiB",
    "drain_s": "2",
    "ledger_max_entries": "10000000",
}
BUDGETED = POLICY.replace(
    "policy: default\n",
    "policy: default\nbudgets: [{scope: tenant, limit_usd: 1000, window: month, hard: false}]\n",
)
FAULTS = (
    Reply(status=500),
    Reply(status=503),
    Reply(status=429, headers={"retry-after-ms": "50"}),
    Reply(status=429, headers={"Retry-After": "30"}),
    Reply(fault="reset"),
    Reply(fault="silent"),
    Reply(fault="headers_only"),
    Reply(fault="cut", after_events=3),
    Reply(fault="clean_cut", after_events=3),
    Reply(fault="stall", after_events=3),
    Reply(malformed_at=2),
    Reply(error_at=2),
    Reply(error_at=0),
    Reply(done=False),
    Reply(done=False, linger=True),
    Reply(body="<html>", whole=True),
)


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What was sent, what came of it, and what was left at the end."""

    seed: int
    sent: int = 0
    never_arrived: int = 0
    restarts: int = 0
    results: Counter[str] = field(default_factory=Counter)
    fates: bytearray = field(default_factory=bytearray)
    wrong: list[str] = field(default_factory=list)
    outcomes: int = 0
    in_metrics: int = 0
    in_ledger: int = 0
    cost_nanousd: int = 0
    spent_nanousd: int = 0
    provider_calls: int = 0
    left: dict[str, int] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def problems(self) -> list[str]:
        """Return what must not be, in words; empty where all is well."""
        found = list(self.wrong)
        found += [f"{count} {what} left" for what, count in self.left.items() if count]
        if not self.sent - self.never_arrived == self.outcomes == self.in_metrics == self.in_ledger:
            told = f"{self.in_metrics} in metrics, {self.in_ledger} in the ledger"
            found.append(f"{self.sent} sent, {self.outcomes} outcomes, {told}")
        if self.memory.bytes_per_request > MAX_BYTES_PER_REQUEST and self.memory.grown_kib > SLACK_KIB:
            found.append(f"memory grows by {self.memory.bytes_per_request:.0f} bytes with every request")
        return found


def draw(rng: random.Random) -> Reply:
    """Return a fault in one of five."""
    return rng.choice(FAULTS) if rng.random() < FAULT_SHARE else Reply()


async def soak(server: EmbeddedRedis, home: Path, *, seconds: float, seed: int) -> Soaked:
    """Run for about `seconds` and return what was seen."""
    soaked, rng = Soaked(seed=seed), random.Random(seed)
    async with running_gateway(home, server.url, models=MODELS, policy=BUDGETED, settings=SETTINGS) as gateway:
        counted = in_metrics(gateway)
        tasks = len(asyncio.all_tasks())
        descriptors = await asyncio.to_thread(open_descriptors) - 2 * gateway.provider.open_connections
        await keep_what_was_acknowledged(server)
        stop = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(gateway, soaked, random.Random(rng.random()), stop))
            group.create_task(restart(server, soaked, stop))
            group.create_task(soaked.memory.watch(lambda: soaked.sent, stop))
        await settle(gateway, soaked, tasks, descriptors)
        fold(gateway, soaked)
        # Who leaves at once may be gone before the gateway has read a request; nobody else may be unknown.
        soaked.never_arrived = soaked.fates.count(GONE)
        soaked.in_metrics = in_metrics(gateway) - counted
        soaked.in_ledger = await in_ledger(gateway, server.url)
        meters = (await idle_meters(gateway)).values()
        soaked.spent_nanousd = sum(spent for spent, _ in meters)
        soaked.left["nano-dollars reserved"] = sum(reserved for _, reserved in meters)
    return soaked


def fold(gateway: Gateway, soaked: Soaked) -> None:
    """Count what the test itself has piled up, and let go of it: memory is to be the gateway's."""
    soaked.provider_calls += len(gateway.provider.requests)
    soaked.outcomes += len(gateway.outcomes)
    for outcome in gateway.outcomes:
        number = int(outcome.request_id.removeprefix("soak-"))
        if soaked.fates[number] & TOLD_OF:
            soaked.wrong.append(f"{outcome.request_id} has two outcomes")
        soaked.fates[number] |= TOLD_OF
        soaked.cost_nanousd += outcome.cost_nanousd or 0
    gateway.provider.requests.clear()
    gateway.outcomes.clear()


async def client(gateway: Gateway, soaked: Soaked, rng: random.Random, stop: float) -> None:
    """Ask one request after the other until the time is over."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {gateway.key}"}) as session:
        while asyncio.get_running_loop().time() < stop:
            if gateway.provider.queued("up-small") < CLIENTS:  # hits ask for none
                gateway.provider.script("up-small", draw(rng))
            text = f"question {rng.randrange(rng.choice(QUESTIONS))}"
            body = {"model": "small", "stream": rng.random() < 0.5, "messages": [{"role": "user", "content": text}]}
            request_id = f"soak-{soaked.sent}"
            fate = soaked.sent
            soaked.sent += 1
            soaked.fates.append(0)
            leave_s = rng.random() * 0.05 if rng.random() < LEAVING_SHARE else None
            try:
                async with asyncio.timeout(leave_s):
                    got = await ask(session, gateway.url, body, request_id)
            except TimeoutError:
                soaked.results["left"] += 1
                soaked.fates[fate] |= GONE
            else:
                judge(got, soaked)
            if len(gateway.outcomes) > 500:
                fold(gateway, soaked)


async def ask(session: aiohttp.ClientSession, url: str, body: object, request_id: str) -> Got:
    """Send one request and read its answer to the end, however that comes."""
    read, broke_off = b"", False
    headers = {"x-request-id": request_id}
    async with session.post(url + "/v1/chat/completions", json=body, headers=headers) as answer:
        try:
            async for part in answer.content.iter_any():
                read += part
        except (aiohttp.ClientError, OSError):
            broke_off = True
        return Got(status=answer.status, headers=answer.headers, body=read, broke_off=broke_off)


def judge(got: Got, soaked: Soaked) -> None:
    """Count an answer: whole, or one clear error; anything else is wrong."""
    if got.is_complete and got.text == OPENAI_TEXT:
        soaked.results[f"complete ({got.headers['x-foreword-cache']})"] += 1
    elif not got.is_complete and set(got.error) == {"message", "type", "param", "code", "source"}:
        soaked.results[f"error {got.status} {got.error['code']}"] += 1
    else:
        soaked.wrong.append(f"neither complete nor an error: {got.status} {got.body[-200:]!r}")


async def restart(server: EmbeddedRedis, soaked: Soaked, stop: float) -> None:
    """Kill Redis and start it again, over and over."""
    while asyncio.get_running_loop().time() + RESTART_EVERY_S < stop:
        await asyncio.sleep(RESTART_EVERY_S)
        await kill(server)
        await asyncio.to_thread(server.revive)
        await keep_what_was_acknowledged(server)
        soaked.restarts += 1


async def keep_what_was_acknowledged(server: EmbeddedRedis) -> None:
    """Make Redis write each command to its file before it answers: with `everysec`, which it ships with, it answers
    first while an fsync of the last second is still under way, and a kill loses up to two seconds of a busy disk.
    """
    assert await told(server, "CONFIG", "SET", "appendfsync", "no") == "+OK"


async def settle(gateway: Gateway, soaked: Soaked, tasks: int, descriptors: int) -> None:
    """Wait until nothing is under way; what is still there after 20 s is left over."""
    worker = gateway.worker

    def left(opened: int) -> dict[str, int]:
        names = [name for name in worker.supervisor.names if name == "provider-call"]
        idle = worker.supervisor.names.count(IDLE)  # they wait for the next call, at most MAX_IDLE of them
        return {
            "calls in flight": worker.inflight.count,
            "callers": worker.inflight.callers,
            "keys in flight": worker.inflight.open_keys,
            "request tasks": len(names),
            "outcomes not in the ledger": worker.ledger.waiting,
            # The idle keep-alive connection of the gateway's own session is answered by one handler each.
            # The kernel's word for it: every idle connection to the provider has two ends in this process.
            "sockets and files": max(0, opened - descriptors - 2 * gateway.provider.open_connections),
            "tasks": max(0, len(asyncio.all_tasks()) - tasks - idle - 2 * gateway.provider.open_connections - 4),
        }

    for _ in range(1000):
        soaked.left = left(await asyncio.to_thread(open_descriptors))
        if not any(soaked.left.values()):
            return
        await asyncio.sleep(0.02)


def in_metrics(gateway: Gateway) -> int:
    families = text_string_to_metric_families(gateway.worker.services.metrics.render()[0].decode())
    named = (sample for family in families for sample in family.samples)
    return int(sum(sample.value for sample in named if sample.name == "foreword_requests_total"))


async def in_ledger(gateway: Gateway, url: str) -> int:
    """Count the requests in the ledger; an append whose reply was lost is repeated, so ids count once."""
    store = RedisStore(url, supervisor=gateway.worker.supervisor, timeout_s=10.0)
    found = {outcome.request_id async for outcome in read_ledger(store) if outcome.tenant == gateway.tenant}
    await store.close()
    return len(found)


def show(soaked: Soaked) -> None:
    """Print the summary."""
    table = Table(title=f"soak, seed {soaked.seed}")
    table.add_column("what")
    table.add_column("count", justify="right")
    rows = [("requests sent", soaked.sent), ("left before they arrived", soaked.never_arrived)]
    rows += [("provider calls", soaked.provider_calls)]
    rows += [("Redis restarts", soaked.restarts), *sorted(soaked.results.items())]
    rows += [("outcomes", soaked.outcomes), ("in metrics", soaked.in_metrics), ("in the ledger", soaked.in_ledger)]
    rows += [("nano-dollars in outcomes", soaked.cost_nanousd), ("in the budget", soaked.spent_nanousd)]
    rows += [(f"left: {what}", count) for what, count in soaked.left.items()]
    memory = soaked.memory
    rows += list(zip(("KiB at the start", "KiB at half time", "KiB at the end"), memory.kib, strict=True))
    rows += [(f"bytes a request (second half; at most {MAX_BYTES_PER_REQUEST})", round(memory.bytes_per_request))]
    for what, count in rows:
        table.add_row(what, f"{count:,}")
    console = Console()
    console.print(table)
    for problem in soaked.problems():
        console.print(f"WRONG: {problem}", markup=False)


def main() -> int:
    """Soak, print the summary and return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with own_redis() as server, tempfile.TemporaryDirectory(prefix="fw-soak-") as home:
        soaked = asyncio.run(soak(server, Path(home) / "files", seconds=options.seconds, seed=options.seed))
    show(soaked)
    return 1 if soaked.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
