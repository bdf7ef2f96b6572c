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
from gateway.cache.semantic.types import Embedded, Entry
from gateway.clock import SystemClock
from gateway.embedder.client import EmbedderClient
from gateway.embedder.home import EmbedderHome, expected_greeting
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor

QUESTION = "How do I improve my spoken English skills within two short months, {}?"
"""Sixteen tokens, special ones included, with a number of one token in it."""
ROUNDS = 200
SIZES = (1_000, 100_000)
TICKS_PER_S = 100


def _crashed(name: str, error: BaseException) -> None:
    print(f"task {name} crashed: {error!r}", file=sys.stderr)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _rss_mb(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in status if line.startswith(("VmRSS", "VmHWM"))}
    return f"{found['VmRSS']} MB now, {found['VmHWM']} MB at most"


@asynccontextmanager
async def _stalls(longest: list[float]) -> AsyncIterator[None]:
    """Measure how late a task of this loop runs at worst, in CPU seconds of this thread: other processes do not count."""

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest.append(time.thread_time() - before)

    task = asyncio.get_running_loop().create_task(watch())
    yield
    task.cancel()


async def _measure(client: EmbedderClient, index: LocalIndex, supervisor: Supervisor, pid: int) -> None:
    clock, rng = SystemClock(), np.random.default_rng(0)
    centre = await client.embed(QUESTION.format(0))
    assert isinstance(centre, Embedded)
    print(f"the question has {centre.tokens} tokens")
    made = 0
    await index.nearest("bench", "s", centre.vector, k=1)
    for size in SIZES:
        longest: list[float] = []
        async with _stalls(longest):
            while made < size:
                count = min(200, size - made)
                bunch = centre.vector + rng.normal(size=384) * 0.05
                rows = bunch + rng.normal(size=(count, 384)) * 0.03
                async with asyncio.TaskGroup() as group:
                    for row in rows:
                        unit = (row / np.linalg.norm(row)).astype(np.float32)
                        now = clock.now()
                        entry = Entry(
                            entry_id=f"{made:032}",
                            answer_id=f"{made:032}",
                            tenant="bench",
                            scope="s",
                            text=QUESTION.format(made),
                            vector=unit,
                            created_at=now,
                            expires_at=now + 3600,
                        )
                        group.create_task(index.add(entry))
                        made += 1
            while any("sort" in name for name in supervisor.names):
                await asyncio.sleep(0.05)
        filled = max(longest)
        longest.clear()
        ours, theirs = time.process_time(), _cpu_s(pid)
        for number in range(ROUNDS):
            asked = await client.embed(QUESTION.format(number % 10))
            assert isinstance(asked, Embedded)
            await index.nearest("bench", "s", asked.vector, k=5)
        ours, theirs = (time.process_time() - ours) / ROUNDS, (_cpu_s(pid) - theirs) / ROUNDS
        async with _stalls(longest):
            for number in range(20):
                asked = await client.embed(QUESTION.format(number % 10))
                assert isinstance(asked, Embedded)
                await index.nearest("bench", "s", asked.vector, k=5)
        print(
            f"{size:>7} entries: {1000 * (ours + theirs):.2f} ms CPU a question (worker {1000 * ours:.2f}, embedder "
            f"{1000 * theirs:.2f}); the loop was held for {1000 * max(longest):.2f} ms at most, {1000 * filled:.2f} "
            f"while filling; memory {index.size_bytes >> 20} MB"
        )
    print(f"embedder: {_rss_mb(pid)}")


async def main() -> None:
    """Run it."""
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        redis = EmbeddedRedis.start(Path(directory))
        home = EmbedderHome.of(Path(directory))
        home.prepare()
        process = subprocess.Popen(home.command())
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
        while client.state == "down":
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
