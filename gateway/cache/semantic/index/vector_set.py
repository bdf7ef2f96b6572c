"""The index inside Redis 8: one vector set for each scope, so workers hold nothing and need no feed.

Must not trust the set alone: its elements never expire, so the record of every element found is read, and an element
without one is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.cache.semantic.index.records import Commands, Records, base
from gateway.cache.semantic.types import Entry, Neighbour, Vector
from gateway.ports import Clock
from gateway.redis_replies import elements, text
from gateway.waiting import Command

SPARE: Final = 5
"""Elements asked for beyond `k`: they are stored as bytes, so their order is not exact, and some may be dead."""
EFFORT: Final = 200
"""Candidates that Redis keeps while it walks its graph (EF of VSIM); its own default of 10 finds too little."""
ROUNDS: Final = 3


class VectorSetIndex:
    """An Index (gateway.cache.semantic.types) over VADD and VSIM. Raises StoreUnavailable, also from an older Redis.

    Redis gives (1 + cosine) / 2 of quantised vectors; similarities here are exact, from the records' own vectors.
    """

    def __init__(self, store: Commands, records: Records, *, dim: int, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._dim = dim
        self._clock = clock

    async def nearest(self, tenant: str, scope: str, vector: Vector, *, k: int) -> Sequence[Neighbour]:
        """Return up to `k` living entries of exactly this tenant and scope, highest cosine first."""
        found: list[Neighbour] = []
        for _ in range(ROUNDS):
            names = await self._similar(tenant, scope, vector, k + SPARE)
            entries = await self._records.get(tenant, scope, names)
            now = self._clock.now()
            living = [one for one in entries if one is not None and one.expires_at > now]
            found = [Neighbour(entry=one, similarity=min(1.0, float(one.vector @ vector))) for one in living]
            kept = {one.entry_id for one in living}
            dead = [name for name in names if name not in kept]
            await self._records.remove(tenant, scope, dead, extra=_removing(tenant, scope, dead))
            if len(found) >= k or len(names) < k + SPARE:
                break
        return sorted(found, key=lambda one: -one.similarity)[:k]

    async def add(self, *entries: Entry) -> None:
        """Add or replace by entry_id; every worker finds it at once. Raises StoreUnavailable."""
        now = self._clock.now()
        fitting = [one for one in entries if one.vector.shape == (self._dim,) and one.expires_at > now]
        over = await self._records.put(fitting, now=now, extra=[_adding(one) for one in fitting], beside=_set)
        for (tenant, scope), gone in over.items():
            await self._records.remove(tenant, scope, (), extra=_removing(tenant, scope, gone))

    async def remove(self, tenant: str, scope: str, entry_ids: Sequence[str]) -> None:
        """Remove entries; unknown ids are ignored."""
        await self._records.remove(tenant, scope, entry_ids, extra=_removing(tenant, scope, entry_ids))

    async def drop(self, tenant: str, scope: str) -> None:
        """Remove a whole scope."""
        await self._records.drop(tenant, scope, extra=[("UNLINK", _set(tenant, scope))])

    async def sweep(self, tenant: str, scope: str) -> int:
        """Remove the elements of entries that have ended, a page at a time, and return how many there were."""
        count = 0
        while names := await self._records.ended(tenant, scope, now=self._clock.now()):
            await self.remove(tenant, scope, names)
            count += len(names)
        return count

    async def _similar(self, tenant: str, scope: str, vector: Vector, count: int) -> Sequence[str]:
        data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
        command: Command = ("VSIM", _set(tenant, scope), "FP32", data, "COUNT", count, "EF", max(EFFORT, count))
        (reply,) = await self._store.run(command)
        return [text(name) for name in elements(reply)]


def _set(tenant: str, scope: str) -> str:
    return f"{base(tenant, scope)}:vectors"


def _adding(entry: Entry) -> Command:
    data = np.ascontiguousarray(entry.vector, dtype="<f4").tobytes()
    return ("VADD", _set(entry.tenant, entry.scope), "FP32", data, entry.entry_id, "Q8")


def _removing(tenant: str, scope: str, names: Sequence[str]) -> Sequence[Command]:
    return [("VREM", _set(tenant, scope), name) for name in names]
