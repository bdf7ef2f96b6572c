"""What is large or slow, and what it costs those beside it: `make bench-large`.

Two real workers, a provider and this client, each a process of its own on one machine. Event-loop lag is the gateway's
own metric; memory is what /proc says of the workers; /health is asked every 100 ms on a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from gateway.clock import SystemClock
from gateway.listening import allow_many_connections
from tests.bench.streaming_provider import LONG_EVENTS, PACED_EVENTS, Wire
from tests.e2e.serving import BOUND_S, Served, request, serving

MODELS = """
model_list:
  - {{model_name: plain, litellm_params: {{model: openai/up-plain, api_base: "{base}", api_key: sk-bench}}}}
  - {{model_name: long, litellm_params: {{model: openai/up-long, api_base: "{base}", api_key: sk-bench}}}}
  - {{model_name: paced0, litellm_params: {{model: openai/up-paced, api_base: "{base}", api_key: sk-bench0}}}}
  - {{model_name: paced1, litellm_params: {{model: openai/up-paced, api_base: "{base}", api_key: sk-bench1}}}}
  - {{model_name: paced2, litellm_params: {{model: openai/up-paced, api_base: "{base}", api_key: sk-bench2}}}}
  - {{model_name: paced3, litellm_params: {{model: openai/up-paced, api_base: "{base}", api_key: sk-bench3}}}}
"""
POLICY = """
version: 1
policy: default
routes: [{name: all, match: {any: true}, candidates: [requested], deadline: 600s, on_cut: error}]
"""
KEYS = 3
PACED = 4
"""Deployments of the slow streams: a worker has at most 256 calls at one."""
PROMPTS, AT_ONCE, LONG_STREAMS, IDLE, STREAMS = 200, 8, 2, 2_000, 1_000
MIB = 1024 * 1024
LIMIT_S = 300.0
RAMP_S = 0.004
"""Between two new streams: a thousand at the same instant would measure a stampede instead."""


FAILURES: Counter[str] = Counter()
"""Why answers were not whole."""
_EVENT = b"data: {"


class Caller(asyncio.Protocol):
    """One client connection: sends a request at a time and counts what comes back without keeping it."""

    def __init__(self) -> None:
        self.events = 0
        self.tail = b""
        self.status = 0
        self._transport: Wire | None = None
        self._done: asyncio.Future[bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Wire)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self.status = int(data[9:12])
        self.events += (self.tail[1 - len(_EVENT) :] + data).count(_EVENT)  # one may come in two pieces
        self.tail = (self.tail + data)[-1024:]
        is_stream = self.tail.endswith(b"0\r\n\r\n") and self.events
        if is_stream or (not self.events and data.endswith((b"}", b"}\n"))):
            self._finish(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish(False)

    def _finish(self, is_whole: bool) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(is_whole)

    async def ask(self, data: bytes) -> bool:
        """Send one request; return whether it was answered whole, with 200."""
        if self._transport is None:
            return False
        self.events, self.tail, self.status = 0, b"", 0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        is_whole = await self._done and self.status == 200
        if not is_whole:
            found = re.search(rb'"code":"(\w+)"', self.tail)
            FAILURES[f"{self.status} {found[1].decode() if found else 'cut'}"] += 1
        return is_whole

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True, kw_only=True)
class Watched:
    """What was seen beside the work: waits for /health, in seconds, and the workers' memory, in bytes."""

    health_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    before_bytes: int = 0
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The gateway under load, and the keys of its callers."""

    served: Served
    keys: Sequence[str]

    async def caller(self) -> Caller:
        """Open a connection."""
        parts = urlsplit(self.served.url)
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(Caller, parts.hostname or "", parts.port or 0)
        return caller

    def post(self, number: int, model: str, *, stream: bool, size: int = 0) -> bytes:
        """Return the bytes of a chat request; every `number` is a question of its own."""
        text = f"question {number} " + "x" * size
        body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()
        key = self.keys[number % len(self.keys)]
        lines = (
            "POST /v1/chat/completions HTTP/1.1",
            "Host: bench",
            f"Authorization: Bearer {key}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join((*lines, "", "")).encode() + body


def memory(pids: Sequence[int]) -> int:
    """Return the proportional set size of all processes, in bytes."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def lag_counts(served: Served) -> dict[float, float]:
    """Return the cumulative buckets of the gateway's lag metric."""
    families = text_string_to_metric_families(request(served.url, "/metrics").body)
    name = "foreword_event_loop_lag_seconds_bucket"
    return {float(s.labels["le"]): s.value for family in families for s in family.samples if s.name == name}


def quantile_ms(before: dict[float, float], after: dict[float, float], share: float) -> str:
    """Return the bucket in which the quantile of what came in between lies."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = max(counts.values())
    bound = next((bound for bound, count in counts.items() if count >= share * total), 0.0)
    return f"<= {bound * 1e3:g} ({total:.0f})"


async def prompts(site: Site) -> str:
    """Send 1 MiB prompts, a few at a time."""

    async def some(first: int) -> int:
        caller = await site.caller()
        done = 0
        for number in range(first, PROMPTS, AT_ONCE):
            done += await caller.ask(site.post(number, "plain", stream=False, size=MIB))
        caller.close()
        return done

    done = sum(await asyncio.gather(*(some(first) for first in range(AT_ONCE))))
    return f"{done} of {PROMPTS}"


async def long_streams(site: Site) -> str:
    """Read streams of 200,000 tokens as fast as they come."""

    async def one(number: int) -> bool:
        caller = await site.caller()
        is_whole = await caller.ask(site.post(number, "long", stream=True))
        caller.close()
        return is_whole and caller.events >= LONG_EVENTS

    done = sum(await asyncio.gather(*(one(number) for number in range(LONG_STREAMS))))
    return f"{done} of {LONG_STREAMS}"


async def idle(site: Site) -> str:
    """Hold connections open that have asked once, ask on one of ten again after a while, then leave."""
    callers = [await site.caller() for _ in range(IDLE)]
    live = b"GET /health/live HTTP/1.1\r\nHost: bench\r\n\r\n"
    done = sum([await caller.ask(live) for caller in callers])
    await asyncio.sleep(10)
    again = [await caller.ask(site.post(n, "plain", stream=False)) for n, caller in enumerate(callers[::10])]
    for caller in callers:
        caller.close()
    return f"{done} of {IDLE}, again {sum(again)} of {len(again)}"


async def streams(site: Site) -> str:
    """Hold a thousand streams of 20 events a second."""
    clock = SystemClock()
    callers = [await site.caller() for _ in range(STREAMS)]
    events: list[int] = []

    async def one(number: int, caller: Caller) -> bool:
        await clock.sleep(number * RAMP_S)
        is_whole = await caller.ask(site.post(number, f"paced{number % PACED}", stream=True))
        events.append(caller.events)
        caller.close()
        return is_whole and caller.events >= PACED_EVENTS

    done = sum(await asyncio.gather(*(one(number, caller) for number, caller in enumerate(callers))))
    return f"{done} of {STREAMS}"


async def ask_health(site: Site, watched: Watched) -> None:
    """Ask every 100 ms on a new connection until the work is over."""
    clock = SystemClock()
    while not watched.is_over:
        started_s = clock.monotonic()
        caller = await site.caller()
        is_well = await caller.ask(b"GET /health/live HTTP/1.1\r\nHost: bench\r\n\r\n")
        caller.close()
        watched.health_s.append(clock.monotonic() - started_s if is_well else float("inf"))
        await clock.sleep(0.1)


async def weigh(site: Site, watched: Watched) -> None:
    """Follow the workers' memory until the work is over."""
    pids = sorted(await asyncio.to_thread(site.served.workers))
    watched.before_bytes = await asyncio.to_thread(memory, pids)
    while not watched.is_over:
        watched.peak_bytes = max(watched.peak_bytes, await asyncio.to_thread(memory, pids))
        await SystemClock().sleep(0.5)


async def measure(site: Site, work: Callable[[Site], Awaitable[str]]) -> tuple[str, ...]:
    """Do the work and return its row."""
    watched = Watched()
    clock = SystemClock()
    before = await asyncio.to_thread(lag_counts, site.served)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        group.create_task(ask_health(site, watched))
        group.create_task(weigh(site, watched))
        await clock.sleep(1.0)
        started_s = clock.monotonic()
        done = await work(site)
        took_s = clock.monotonic() - started_s
        watched.is_over = True
    after = await asyncio.to_thread(lag_counts, site.served)
    health = sorted(watched.health_s)
    rested = await asyncio.to_thread(lambda: memory(sorted(site.served.workers())))
    return (
        done,
        f"{took_s:.1f}",
        quantile_ms(before, after, 0.99),
        f"{health[len(health) // 2] * 1e3:.1f} / {health[int(len(health) * 0.99)] * 1e3:.1f} / {health[-1] * 1e3:.1f}",
        " / ".join(f"{size / MIB:.0f}" for size in (watched.before_bytes, watched.peak_bytes, rested)),
    )


@contextmanager
def provider() -> Iterator[str]:
    """Run the provider; yield its API base."""
    command = [sys.executable, "-m", "tests.bench.streaming_provider"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait(BOUND_S)


def keys_of(served: Served) -> Sequence[str]:
    """Make as many keys as their limit of connections asks for."""
    made = [served.cli("keys", "create", "--json", *served.flags()[:2]) for _ in range(KEYS)]
    return [json.loads(one.stdout)["key"] for one in made]


WORK: Sequence[tuple[str, Callable[[Site], Awaitable[str]]]] = (
    (f"{PROMPTS} prompts of 1 MiB, {AT_ONCE} at once", prompts),
    (f"{LONG_STREAMS} streams of {LONG_EVENTS:,} tokens", long_streams),
    (f"{IDLE:,} idle connections", idle),
    (f"{STREAMS:,} streams, 20 events/s", streams),
)


def main() -> None:
    """Start everything, measure, print."""
    allow_many_connections()
    table = Table(title="Large and slow, 2 workers; /health in ms as p50 / p99 / worst, MiB before / peak / after")
    for title in ("work", "whole answers", "seconds", "lag p99, ms (samples)", "/health", "workers' PSS"):
        table.add_column(title)
    with provider() as base, serving(policy=POLICY, models=MODELS.format(base=base)) as served:
        site = Site(served=served, keys=keys_of(served))
        for name, work in WORK:
            row = uvloop.run(measure(site, work))
            table.add_row(name, *row)
            Console(stderr=True).print(name, *row, sep=" | ")
    Console(width=150).print(table)
    if FAILURES:
        Console().print("not whole:", dict(FAILURES))


if __name__ == "__main__":
    main()
