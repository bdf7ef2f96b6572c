"""The Redis that a command works on: the configured one, a running gateway's private one, or one started for now."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from gateway.clock import SystemClock
from gateway.data_dir import EmbeddedRedisFailed
from gateway.logs import report_crash
from gateway.settings import Settings
from gateway.stores.embedded import EmbeddedRedis, EmbeddedRedisUnavailable, find_running
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor

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


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[RedisStore]:
    """Yield a store for the time of one command, which can wait longer than a gateway."""
    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(url, supervisor=supervisor, timeout_s=REDIS_TIMEOUT_S)
    try:
        yield store
    finally:
        await store.close()
        await supervisor.close(CLOSE_S)
