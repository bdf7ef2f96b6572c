"""What commands that read the ledger share: the store, the time span, and how to say that something is wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.clock import SystemClock
from gateway.commands.redis import redis_for, run_with_store
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from policies.durations import parse_duration

T = TypeVar("T")

REDIS_TIMEOUT_S = 10.0
NANO = 1e-9


def since(text: str) -> float | None:
    """Return the Unix time that lies the duration `text` back, or None after having said on stderr what is wrong."""
    try:
        return SystemClock().now() - parse_duration(text)
    except ValueError as error:
        sys.stderr.write(f"--since: {text}: {error}\n")
        return None


def with_history(settings: Settings, act: Callable[[RedisStore | None], Awaitable[T]]) -> T | None:
    """Return what `act` makes of the ledger's store (None: files alone), None after having said why that failed."""
    with redis_for(settings) as found:
        if found is None or found.redis_url is None:
            return asyncio.run(_without_store(act))
        return run_with_store(found.redis_url, act, timeout_s=REDIS_TIMEOUT_S)


def usd(nanousd: int | None) -> str:
    """Write nano-dollars as USD with six decimals."""
    return "unknown" if nanousd is None else f"{nanousd * NANO:.6f}"


async def _without_store(act: Callable[[RedisStore | None], Awaitable[T]]) -> T:
    return await act(None)
