"""The exact tier: complete answers by key, first in this worker's memory, then in the shared store.

Never decides whether an answer may be stored (key.is_storable and Flow do) and never waits past the store's bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from gateway.cache.codec import StoredAnswer, decode, encode
from gateway.cache.lease import Elsewhere, Lease, is_claim
from gateway.ports import Clock, Store, StoreUnavailable

ALONE_LIMIT_S: Final = 60.0


class Hit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored answer that is still good; `age_s` since it was made."""

    answer: StoredAnswer
    tier: Literal["memory", "redis"]
    age_s: float


class Miss(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Nothing usable; `is_store_down` when the shared store could not be asked."""

    is_store_down: bool = False


class ExactCache:
    """Two tiers under one key space. Memory is bounded in bytes and drops the least recently used."""

    def __init__(self, store: Store, clock: Clock, *, max_bytes: int) -> None:
        self._store = store
        self._clock = clock
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._heard_s: float | None = None
        self._memory: OrderedDict[str, StoredAnswer] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Bytes of answers in this worker's memory."""
        return self._held_bytes

    def peek(self, key: str, *, max_age_s: float | None) -> Hit | None:
        """Look into memory only; no I/O."""
        answer = self._memory.get(key)
        if answer is None or self._is_alone():
            return None
        age_s = self._clock.now() - answer.created_at
        if age_s >= answer.ttl_s:
            self._drop(key)
            return None
        if max_age_s is not None and age_s > max_age_s:
            return None
        self._memory.move_to_end(key)
        return Hit(answer=answer, tier="memory", age_s=max(0.0, age_s))

    async def fetch(self, key: str, *, tenant: str, max_age_s: float | None) -> Hit | Miss:
        """Look into the shared store; a hit is kept in memory. Cancel loses only this caller's reply."""
        try:
            raw = await self._store.get(store_key(key, tenant=tenant))
        except StoreUnavailable:
            return Miss(is_store_down=True)
        return self._read(key, raw, max_age_s)

    async def fetch_or_claim(
        self, key: str, lease: Lease, *, max_age_s: float | None
    ) -> Hit | Miss | Lease | Elsewhere:
        """Look into the shared store under the lease's name, and claim that where nothing is there, in one command.

        Miss: an answer is there that cannot be used. After a cancel the lease may be ours: give it up.
        """
        try:
            raw = await self._store.get_or_claim(lease.name, lease.token, ttl_s=lease.ttl_s)
        except StoreUnavailable:
            return Miss(is_store_down=True)
        if raw is None:
            return lease
        return Elsewhere() if is_claim(raw) else self._read(key, raw, max_age_s)

    def _read(self, key: str, raw: bytes | None, max_age_s: float | None) -> Hit | Miss:
        answer = decode(raw) if raw is not None else None
        if answer is None:
            return Miss()
        age_s = self._clock.now() - answer.created_at
        if age_s >= answer.ttl_s or (max_age_s is not None and age_s > max_age_s):
            return Miss()
        self.keep(key, answer)
        return Hit(answer=answer, tier="redis", age_s=max(0.0, age_s))

    async def fetch_stale(self, key: str, *, tenant: str) -> Hit | None:
        """Return an answer that may stand in where no provider answers, however old within its stale time.

        Never kept in memory. Cancel loses only this caller's reply.
        """
        try:
            raw = await self._store.get(store_key(key, tenant=tenant))
        except StoreUnavailable:
            return None
        answer = decode(raw) if raw is not None else None
        if answer is None:
            return None
        age_s = max(0.0, self._clock.now() - answer.created_at)
        return Hit(answer=answer, tier="redis", age_s=age_s) if age_s < answer.ttl_s + answer.stale_s else None

    def keep(self, key: str, answer: StoredAnswer) -> None:
        """Put into memory only; an answer larger than an eighth of the bound is not kept here."""
        if answer.size_bytes > self._max_bytes // 8:
            return
        self._drop(key)
        self._memory[key] = answer
        self._held_bytes += answer.size_bytes
        while self._held_bytes > self._max_bytes:
            self._drop(next(iter(self._memory)))

    def share(self, key: str, answer: StoredAnswer, *, tenant: str, lease: Lease | None = None) -> None:
        """Put into the shared store without waiting, over the claim of `lease`; lost where the store is away."""
        name, token = store_key(key, tenant=tenant), b"" if lease is None else lease.token
        self._store.put_soon(name, encode(answer), ttl_s=answer.ttl_s + answer.stale_s, token=token)

    def heard(self) -> None:
        """Note that what others have withdrawn is known up to now; from the first time on that has to go on.

        A worker that has not heard for `ALONE_LIMIT_S` tells nothing from memory: it may be what was withdrawn.
        """
        self._heard_s = self._clock.monotonic()

    def forget(self, is_withdrawn: Callable[[str, StoredAnswer], bool]) -> int:
        """Drop what is withdrawn from memory, and return how many answers that were."""
        gone = [key for key, answer in self._memory.items() if is_withdrawn(key, answer)]
        for key in gone:
            self._drop(key)
        return len(gone)

    def _is_alone(self) -> bool:
        return self._heard_s is not None and self._clock.monotonic() - self._heard_s > ALONE_LIMIT_S

    def _drop(self, key: str) -> None:
        answer = self._memory.pop(key, None)
        if answer is not None:
            self._held_bytes -= answer.size_bytes


def store_key(key: str, *, tenant: str) -> str:
    """Return the shared store's key; the tenant is its hash tag, so that one tenant's answers share a cluster slot."""
    return f"foreword:cache:{{{tenant}}}:{key}"
