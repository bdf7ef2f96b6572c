"""What a question costs the semantic tier: CPU of embedding and searching, and how long the event loop stands still.

`python -m tests.bench.semantic` starts a Redis and the embedder of its own. A benchmark, not a test.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import uvloop

from gateway.cache.semantic.index.feed import Feed
from gateway.cache.semantic.index.local import Bounds, LocalIndex
from gateway.cache.semantic.index.records import Records
from gateway.cache.semantic.types import Embedded, Entry, Vector
from gateway.clock import SystemClock
from gateway.embedder.client import EmbedderClient
from gateway.embedder.home import EmbedderHome, expected_greeting
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor

QUESTION = "How do I improve my spoken English skills within two short months {}?"
"""Sixteen tokens, special ones included, with a number of one token in it."""
ROUNDS = 200
SIZES = (1_000, 100_000)
TICKS_PER_S = 100
BURST = 8
"""Entries written at once."""


def _crashed(name: str, error: BaseException) -> None:
    sys.stderr.write(f"task {name} crashed: {error!r}\n")


def say(line: str) -> None:
    """Write a line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _rss_mb(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in status if line.startswith(("VmRSS", "VmHWM"))}
    return f"{found['VmRSS']} MB now, {found['VmHWM']} MB at most"


@asynccontextmanager
async def _stalls(longest: list[float]) -> AsyncIterator[None]:
    """Measure the CPU seconds between two turns of this loop: other processes and threads do not count."""

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest.append(time.thread_time() - before)

    task = asyncio.get_running_loop().create_task(watch())
    yield
    task.cancel()


async def _fill(index: LocalIndex, centre: Vector, numbers: range) -> None:
    """Add entries, a burst at a time, in bunches around `centre`."""
    clock, rng = SystemClock(), np.random.default_rng(numbers.start)
    for start in numbers[::BURST]:
        bunch = centre + rng.normal(size=384) * 0.05
        async with asyncio.TaskGroup() as group:
            for number in range(start, min(start + BURST, numbers.stop)):
                row = bunch + rng.normal(size=384) * 0.03
                now = clock.now()
                entry = Entry(
                    entry_id=f"{number:032}",
                    answer_id=f"{number:032}",
                    tenant="bench",
                    scope="s",
                    text=QUESTION.format(number),
                    vector=(row / np.linalg.norm(row)).astype(np.float32),
                    created_at=now,
                    expires_at=now + 3600,
                )
                group.create_task(index.add(entry))


async def _ask(client: EmbedderClient, index: LocalIndex, rounds: int) -> None:
    for number in range(rounds):
        asked = await client.embed(QUESTION.format(number % 10))
        assert isinstance(asked, Embedded)
        await index.nearest("bench", "s", asked.vector, k=5)


async def _measure(client: EmbedderClient, index: LocalIndex, supervisor: Supervisor, pid: int) -> None:
    centre = await client.embed(QUESTION.format(0))
    assert isinstance(centre, Embedded)
    say(f"the question has {centre.tokens} tokens")
    await index.nearest("bench", "s", centre.vector, k=1)
    made = 0
    for size in SIZES:
        filling: list[float] = []
        async with _stalls(filling):
            await _fill(index, centre.vector, range(made, size))
            while any("sort" in name for name in supervisor.names):  # noqa: ASYNC110 - polls others' tasks
                await asyncio.sleep(0.05)
        made = size
        ours, theirs = time.process_time(), _cpu_s(pid)
        await _ask(client, index, ROUNDS)
        ours, theirs = (time.process_time() - ours) / ROUNDS, (_cpu_s(pid) - theirs) / ROUNDS
        asking: list[float] = []
        async with _stalls(asking):
            await _ask(client, index, 20)
        say(
            f"{size:>7} entries: {1000 * (ours + theirs):.2f} ms CPU a question (worker {1000 * ours:.2f}, embedder "
            f"{1000 * theirs:.2f}); the loop was held for {1000 * max(asking):.2f} ms at most, while filling for "
            f"{1000 * max(filling):.2f}; memory {index.size_bytes >> 20} MB"
        )
    say(f"embedder: {_rss_mb(pid)}")


async def main() -> None:
    """Run it."""
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        redis = EmbeddedRedis.start(Path(directory))
        home = EmbedderHome.of(Path(directory))
        home.prepare()
        process = subprocess.Popen(home.command())  # noqa: ASYNC220 - before anything else runs
        clock = SystemClock()
        supervisor = Supervisor(clock=clock, on_crash=_crashed)
        store = RedisStore(redis.url, supervisor=supervisor, timeout_s=5.0)
        client = EmbedderClient(
            home.socket, expected=expected_greeting("int8"), supervisor=supervisor, clock=clock, timeout_s=5.0
        )
        client.start()
        index = LocalIndex(
            Records(store, max_entries=200_000),
            Feed(store, worker="bench"),
            dim=384,
            bounds=Bounds(max_bytes=1 << 30, class_share=1.0),
            supervisor=supervisor,
            clock=clock,
            rng=random.Random(0),
        )
        index.start()
        while client.state == "down":  # noqa: ASYNC110 - another process starts
            await asyncio.sleep(0.05)
        try:
            await _measure(client, index, supervisor, process.pid)
        finally:
            process.terminate()
            process.wait()
            await store.close()
            await supervisor.close(1.0)
            redis.stop()


if __name__ == "__main__":
    uvloop.run(main())
