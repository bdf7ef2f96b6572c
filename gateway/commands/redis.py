"""The Redis that a command works on: the configured one, a running gateway's private one, or one started for now."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from gateway.clock import SystemClock
from gateway.data_dir import EmbeddedRedisFailed
from gateway.logs import report_crash
from gateway.ports import StoreUnavailable
from gateway.settings import Settings
from gateway.stores.embedded import EmbeddedRedis, EmbeddedRedisUnavailable, find_running
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor

T = TypeVar("T")

REDIS_TIMEOUT_S = 2.0
CLOSE_S = 1.0


@contextmanager
def redis_for(settings: Settings) -> Iterator[Settings | None]:
    """Yield settings whose `redis_url` is set, or None after having said on stderr why there is no Redis."""
    url = settings.redis_url or find_running(settings.data_dir)
    if url is not None:
        yield settings.model_copy(update={"redis_url": url})
        return
    try:
        started = EmbeddedRedis.start(settings.data_dir)
    except (EmbeddedRedisFailed, EmbeddedRedisUnavailable) as error:
        sys.stderr.write(f"foreword: {error}\n")
        yield None
        return
    try:
        yield settings.model_copy(update={"redis_url": started.url})
    finally:
        started.stop()


def with_store(settings: Settings, act: Callable[[RedisStore], Awaitable[T]]) -> T | None:
    """Return what `act` returns, or None after having said on stderr why Redis could not be used."""
    with redis_for(settings) as found:
        return None if found is None else run_with_store(found.redis_url or "", act)


def run_with_store(
    url: str, act: Callable[[RedisStore], Awaitable[T]], *, timeout_s: float = REDIS_TIMEOUT_S
) -> T | None:
    """Do the same with the Redis at `url`; no call waits longer than `timeout_s`."""

    async def acted() -> T:
        async with open_store(url, timeout_s=timeout_s) as store:
            return await act(store)

    try:
        return asyncio.run(acted())
    except StoreUnavailable as error:
        sys.stderr.write(f"foreword: Redis cannot be used: {error}\n")
        return None


@asynccontextmanager
async def open_store(url: str, *, timeout_s: float = REDIS_TIMEOUT_S) -> AsyncIterator[RedisStore]:
    """Yield a store for the time of one command, which can wait longer than a gateway."""
    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(url, supervisor=supervisor, timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()
        await supervisor.close(CLOSE_S)
