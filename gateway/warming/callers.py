"""Who a kept request may be asked for again: its caller, with no more rights than then, and none once the key is gone.

Must not verify a secret: nobody presents one here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from gateway.keys import Caller, KeyRecord
from gateway.ports import Clock
from gateway.retained.kept import Kept

RECHECK_S: Final = 1.0
"""A revoked key stops within a second, here too."""


class KeyList(Protocol):
    """Every key, revoked ones too. Raises StoreUnavailable."""

    async def list(self) -> Sequence[KeyRecord]: ...


class Callers:
    """Owner of the list of keys as it was a second ago at most. `without_key` may call where that is switched on."""

    def __init__(self, keys: KeyList, clock: Clock, *, without_key: Caller | None) -> None:
        self._keys = keys
        self._clock = clock
        self._without_key = without_key
        self._records: Mapping[str, KeyRecord] = {}
        self._due_s = float("-inf")

    async def of(self, kept: Kept) -> Caller | None:
        """Return the caller as they are now, None where they may not ask any more. Raises StoreUnavailable."""
        nobody = self._without_key
        if nobody is not None and (kept.key_id, kept.tenant) == (nobody.key_id, nobody.tenant):
            return nobody
        if self._clock.monotonic() >= self._due_s:
            self._records = {record.id: record for record in await self._keys.list()}
            self._due_s = self._clock.monotonic() + RECHECK_S
        record = self._records.get(kept.key_id)
        if record is None or record.revoked_at is not None or record.tenant != kept.tenant:
            return None
        return Caller(tenant=record.tenant, key_id=record.id, allowed_models=_both(record.models, kept.allowed_models))


def _both(now: Sequence[str] | None, then: Sequence[str] | None) -> frozenset[str] | None:
    """Return what both lists allow; None allows every model."""
    if now is None or then is None:
        allowed = now if then is None else then
        return None if allowed is None else frozenset(allowed)
    return frozenset(now) & frozenset(then)
