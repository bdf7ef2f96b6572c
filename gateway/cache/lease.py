"""One provider call for the same unstreamed request across workers and replicas: a lease on its key in the store.

Must not outlast its wait: whoever cannot get the lease or the answer in time makes the call itself, and so does
everybody while the store is away.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.ports import Clock, Spawner, StoreUnavailable
from gateway.supervisor import SupervisorClosed

POLL_S = 0.02
"""How often who waits looks for the answer; half a turn of it is what joining costs on average."""

Found = TypeVar("Found")


class Claims(Protocol):
    """Named claims with expiry, shared by every worker. Both raise StoreUnavailable."""

    async def claim(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Claim `key` for `ttl_s` seconds unless somebody has; return whether it is ours."""
        ...

    async def release(self, key: str, value: bytes) -> bool:
        """Give `key` up if it still holds `value`; return whether it did."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claim that is ours until it is given up or expires."""

    name: str
    token: bytes


class Leases:
    """Makes callers of one key wait for each other, up to `wait_s`; 0 lets nobody wait."""

    def __init__(self, claims: Claims, clock: Clock, spawner: Spawner, *, wait_s: float) -> None:
        self._claims = claims
        self._clock = clock
        self._spawner = spawner
        self._wait_s = wait_s

    @property
    def is_on(self) -> bool:
        """Whether anybody waits at all."""
        return self._wait_s > 0

    async def take(
        self, name: str, look: Callable[[], Awaitable[Found | None]], *, left_s: float | None
    ) -> Lease | Found | None:
        """Return a lease of ours, what `look` found meanwhile, or None: then call without one.

        Waits at most `wait_s`, and `left_s` where that is less. A crashed holder's lease ends by itself after
        `wait_s`. On cancel a claim that was under way is given up.
        """
        lease = Lease(name=name, token=secrets.token_bytes(12))
        until_s = self._clock.monotonic() + min(self._wait_s, self._wait_s if left_s is None else left_s)
        has_waited = False
        try:
            while not await self._claims.claim(name, lease.token, ttl_s=self._wait_s):
                if self._clock.monotonic() + POLL_S >= until_s:
                    return None
                await self._clock.sleep(POLL_S)
                has_waited = True
                found = await look()
                if found is not None:
                    return found
            # Whoever had the lease stored the answer before giving it up.
            found = await look() if has_waited else None
        except StoreUnavailable:
            return None
        except asyncio.CancelledError:
            self.give_up(lease)
            raise
        if found is not None:
            self.give_up(lease)
            return found
        return lease

    def give_up(self, lease: Lease) -> None:
        """Release in a task of its own; where that cannot be, it expires."""
        with suppress(SupervisorClosed):
            self._spawner.spawn(self.release(lease), name="lease-release")

    async def release(self, lease: Lease) -> None:
        """Give the lease up, if it is still ours."""
        try:
            await self._claims.release(lease.name, lease.token)
        except StoreUnavailable:
            return


def lease_name(key: str, *, tenant: str) -> str:
    """Return the store's key; the tenant is its hash tag, as the answer's."""
    return f"foreword:lease:{{{tenant}}}:{key}"
