"""Protocols of the gateway's own plug-ins: where answers are stored, and the time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol


class StoreUnavailable(Exception):
    """The store did not answer in time or at all; callers go on without it and say so."""


class Store(Protocol):
    """A byte store with expiry, shared by every worker. Keys are str, values bytes.

    No call waits longer than the store's own bound (50 ms by default) before StoreUnavailable.
    A cancelled caller loses its reply, never another caller's.
    """

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None where there is none or it has expired. Raises StoreUnavailable."""
        ...

    async def get_or_claim(self, key: str, token: bytes, *, ttl_s: float) -> bytes | None:
        """Return the value, another's token too; where there is none put `token` there for `ttl_s`, return None.

        Atomic. Raises StoreUnavailable, after which the token may be there.
        """
        ...

    def put_soon(self, key: str, value: bytes, *, ttl_s: float, token: bytes = b"") -> None:
        """Store without waiting, in order with other calls; lost where the store is away.

        Where the store refuses, `token` goes, if `key` holds that.
        """
        ...

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store for `ttl_s` seconds, replacing. Raises StoreUnavailable."""
        ...

    async def delete(self, keys: Sequence[str]) -> int:
        """Delete and return how many existed. Raises StoreUnavailable."""
        ...

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None:
        """Append to a stream that keeps about its newest `max_entries`. Raises StoreUnavailable."""
        ...


class Clock(Protocol):
    """The router's clock with the time of day added."""

    def monotonic(self) -> float: ...

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    async def sleep(self, delay_s: float) -> None: ...


class Job(Protocol):
    """Work under way."""

    def cancel(self) -> None:
        """Cancel it; one that has not begun never will."""
        ...


class Spawner(Protocol):
    """The part of the Supervisor that the cache needs: work that outlives the request which began it."""

    def run_errand(self, coro: Coroutine[object, object, None], *, name: str, ended: Callable[[], None]) -> Job:
        """Run `coro` soon, and call `ended` once it is over, however it ended."""
        ...
