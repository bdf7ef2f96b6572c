"""What commands that read the ledger share: the store, the time span, and how to say that something is wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.clock import SystemClock
from gateway.commands.redis import redis_for
from gateway.logs import report_crash
from gateway.ports import StoreUnavailable
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.durations import parse_duration

T = TypeVar("T")

REDIS_TIMEOUT_S = 10.0
CLOSE_S = 1.0
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
        try:
            return asyncio.run(_act(None if found is None else found.redis_url, act))
        except StoreUnavailable as error:
            sys.stderr.write(f"foreword: Redis cannot be used: {error}\n")
            return None


def usd(nanousd: int | None) -> str:
    """Write nano-dollars as USD with six decimals."""
    return "unknown" if nanousd is None else f"{nanousd * NANO:.6f}"


async def _act(url: str | None, act: Callable[[RedisStore | None], Awaitable[T]]) -> T:
    if url is None:
        return await act(None)
    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(url, supervisor=supervisor, timeout_s=REDIS_TIMEOUT_S)
    try:
        return await act(store)
    finally:
        await store.close()
        await supervisor.close(CLOSE_S)
