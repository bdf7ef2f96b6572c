"""One provider call for the same unstreamed request across workers and replicas: a lease on its key in the store.

A claim is a token where the answer will be, so that looking for the answer takes the lease and storing it gives the
lease up. Must not outlast its wait: whoever gets neither lease nor answer in time makes the call itself, and so does
everybody while the store is away.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, Protocol, TypeVar

import msgspec

from gateway.ports import Clock, StoreUnavailable

_MARK: Final = b"\xc1"
"""The byte that MessagePack never uses, and so no stored answer begins with."""
POLL_S = 0.02
"""How often who waits looks for the answer; half a turn of it is what joining costs on average."""

Found = TypeVar("Found")


class Claims(Protocol):
    """Named claims with expiry, shared by every worker."""

    async def claim(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Claim `key` for `ttl_s` seconds unless somebody has; return whether it is ours. Raises StoreUnavailable."""
        ...

    def release_soon(self, key: str, value: bytes) -> None:
        """Give `key` up if it still holds `value`, without waiting, in order with what was stored before."""
        ...


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A claim, ours or to be made; it is over when it is given up or `ttl_s` has passed.

    `is_beside` the answer's place, because an answer that cannot be used is there and stays until a better one comes.
    """

    name: str
    token: bytes
    ttl_s: float
    is_beside: bool = False


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody else has the lease."""


class Leases:
    """Makes callers of one key wait for each other, up to `wait_s`; 0 lets nobody wait."""

    def __init__(self, claims: Claims, clock: Clock, *, wait_s: float) -> None:
        self._claims = claims
        self._clock = clock
        self._wait_s = wait_s
        self._owner = b""
        self._numbers = count()

    @property
    def is_on(self) -> bool:
        """Whether anybody waits at all."""
        return self._wait_s > 0

    def draw(self, name: str, *, is_beside: bool = False) -> Lease:
        """Return a lease of its own token, which nobody has claimed yet. A crashed holder's ends after `wait_s`."""
        self._owner = self._owner or _MARK + secrets.token_bytes(12)  # not before the fork that makes us a worker
        token = self._owner + b"%d" % next(self._numbers)
        return Lease(name=name, token=token, ttl_s=self._wait_s, is_beside=is_beside)

    async def claim(self, lease: Lease) -> Lease | Elsewhere | None:
        """Claim it, and return it once it is ours; None while the store is away. After a cancel it may be ours."""
        try:
            is_ours = await self._claims.claim(lease.name, lease.token, ttl_s=lease.ttl_s)
        except StoreUnavailable:
            return None
        return lease if is_ours else Elsewhere()

    async def wait(self, again: Callable[[], Awaitable[Found | Elsewhere]], *, left_s: float | None) -> Found | None:
        """Wait for what somebody else has the lease for: ask `again` and again, and return what else it says.

        None: call without a lease. Waits at most `wait_s`, and `left_s` where that is less.
        """
        until_s = self._clock.monotonic() + min(self._wait_s, self._wait_s if left_s is None else left_s)
        while self._clock.monotonic() + POLL_S < until_s:
            await self._clock.sleep(POLL_S)
            found = await again()
            if not isinstance(found, Elsewhere):
                return found
        return None

    def give_up(self, lease: Lease) -> None:
        """Release it soon, if it is ours; where that cannot be, it expires."""
        self._claims.release_soon(lease.name, lease.token)


def is_claim(value: bytes) -> bool:
    """Whether it is a claim and no answer."""
    return value.startswith(_MARK)


def lease_name(key: str, *, tenant: str) -> str:
    """Return the store's key of a lease beside an answer; the tenant is its hash tag, as the answer's."""
    return f"foreword:lease:{{{tenant}}}:{key}"
