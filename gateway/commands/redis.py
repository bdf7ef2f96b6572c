"""The Redis that a command works on: the configured one, a running gateway's private one, or one started for now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.data_dir import EmbeddedRedisFailed
from gateway.settings import Settings
from gateway.stores.embedded import EmbeddedRedis, EmbeddedRedisUnavailable, find_running


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
