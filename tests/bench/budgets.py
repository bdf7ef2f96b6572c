"""Reserve-and-settle pairs a second that one policy's slot in Redis carries, pools off and on: `make bench-budgets`.

One redis-server and this process, each on a core of its own at best; a real Cluster has one such slot a policy.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.budgets import script
from gateway.budgets.books import Budgets
from gateway.budgets.meters import Meter
from gateway.budgets.pool import Reservation
from gateway.clock import SystemClock
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.redis_cluster import RedisCluster

CLIENTS = 64
PAIRS = 6_400
LIMIT = 10**15
TAG = "{b:bench}"


def meters(many: int) -> tuple[Meter, ...]:
    """Return meters of one policy: tenant, route, key …"""
    return tuple(
        Meter(
            key=f"foreword:{TAG}:nanousd:scope{at}:x:month:2026-11",
            name="bench",
            unit="nanousd",
            limit=LIMIT,
            ends_at=4e9,
            is_hard=True,
        )
        for at in range(many)
    )


async def without_pools(store: RedisStore, used: tuple[Meter, ...], pairs: int) -> None:
    """Ask Redis for every reservation and every settlement: a lease each."""
    needs = (1000,) * len(used)

    async def client(at: int) -> None:
        for number in range(pairs // CLIENTS):
            lease = f"{at}-{number}"
            grow = script.grow(TAG, used, lease=lease, seq=1, due_ms=2**45, needs=needs, wants=needs)
            await store.run(grow)
            draw = script.draw(TAG, used, lease=lease, seq=2, due_ms=2**45, released=needs, spent=needs)
            await store.run(draw)

    await asyncio.gather(*(client(at) for at in range(CLIENTS)))


async def with_pools(store: RedisStore, used: tuple[Meter, ...], pairs: int) -> None:
    """Reserve and settle as the gateway does."""
    budgets, needs = Budgets(store, SystemClock()), (1000,) * len(used)
    pool = budgets.pool(TAG, used)

    async def client() -> None:
        for _ in range(pairs // CLIENTS):
            found = pool.take(needs) or await budgets.reserve(TAG, used, needs)
            assert isinstance(found, Reservation)
            await asyncio.sleep(0)
            budgets.settle(found, needs)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    await budgets.close()


async def measure(url: str) -> Sequence[tuple[int, float, float]]:
    """Return (meters, pairs a second without pools, with them)."""
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=lambda name, error: None)
    store = RedisStore(url, supervisor=supervisor, timeout_s=10.0)
    found = []
    try:
        for many in (1, 3, 5):
            used = meters(many)
            await with_pools(store, used, 64)  # loads the script
            began = clock.monotonic()
            await without_pools(store, used, PAIRS)
            between = clock.monotonic()
            await with_pools(store, used, PAIRS)
            found.append((many, PAIRS / (between - began), PAIRS / (clock.monotonic() - between)))
    finally:
        await store.close()
        await supervisor.close(1.0)
    return found


def main() -> None:
    """Measure on one server and on a Cluster, and print."""
    table = Table(title=f"reserve and settle, pairs a second on one slot, {CLIENTS} clients in one process")
    for heading in ("store", "meters", "pools off", "pools on"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        server = EmbeddedRedis.start(Path(directory))
        cluster = RedisCluster()
        try:
            cluster.start()
            for name, url in (("one server", server.url), ("cluster of 3", cluster.url)):
                for many, off, on in asyncio.run(measure(url)):
                    table.add_row(name, str(many), f"{off:,.0f}", f"{on:,.0f}")
        finally:
            cluster.stop()
            server.stop()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
