"""Makes a gateway's world larger than a benchmark could by asking: keys, cache entries, ledger entries, routes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import msgspec

from gateway.cache.exact import store_key
from gateway.clock import SystemClock
from gateway.keys import RECORDS, KeyRecord, new_secret
from gateway.ledger import STREAM, encode
from gateway.logs import report_crash
from gateway.stores.embedded import find_running
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.bench.samples import outcome

BATCH = 1_000
Command = tuple[str | bytes | int, ...]


def fill(data_dir: Path, commands: Iterator[Command], *, batch: int = BATCH) -> None:
    """Send `commands` to the Redis of a running gateway, a batch in one round trip."""
    asyncio.run(_fill(data_dir, commands, batch))


async def _fill(data_dir: Path, commands: Iterator[Command], batch: int) -> None:
    async with _redis(data_dir) as store:
        while taken := list(islice(commands, batch)):
            await store.run(*taken)


async def asked(data_dir: Path, command: Command) -> object:
    """Return the reply of a running gateway's Redis to one command."""
    async with _redis(data_dir) as store:
        return (await store.run(command))[0]


@asynccontextmanager
async def _redis(data_dir: Path) -> AsyncIterator[RedisStore]:
    url = find_running(data_dir)
    assert url is not None, f"no Redis runs in {data_dir}"
    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(url, supervisor=supervisor, timeout_s=60.0)
    try:
        yield store
    finally:
        await store.close()
        await supervisor.close(1.0)


def secrets_of(count: int) -> tuple[str, ...]:
    """Return so many fresh keys."""
    return tuple(new_secret() for _ in range(count))


def keys_of(secrets: Sequence[str]) -> Iterator[Command]:
    """Yield the commands that make each secret a key of a tenant of its own."""
    for number, secret in enumerate(secrets):
        record = KeyRecord(id=f"key-{number:012x}", name="", tenant=f"tenant-{number}", models=None, created_at=0.0)
        yield "HSET", RECORDS, hashlib.sha256(secret.encode()).hexdigest(), msgspec.json.encode(record)


def cache_entries(first: int, last: int) -> Iterator[Command]:
    """Yield the commands that store small answers nobody will ask for, with a time to live as ours have."""
    for number in range(first, last):
        key = store_key(hashlib.sha256(b"%d" % number).hexdigest(), tenant="default")
        yield "SET", key, b"x" * 64, "EX", 36_000


def ledger_entries(count: int) -> Iterator[Command]:
    """Yield the commands that append so many outcomes."""
    entry = encode(outcome())
    for _ in range(count):
        yield "XADD", STREAM, "*", "d", entry
