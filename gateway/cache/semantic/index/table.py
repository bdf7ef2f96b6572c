"""The entries of one scope in memory: which slot is whose, until when, and when to sort the rows into clusters anew.

Belongs to one event loop; `search` and `sort` return work that may run in a thread. Knows no store and no budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from gateway.cache.semantic.index.matrix import Clustered, Ends, Flat, Found, cluster, nearest, nearest_all
from gateway.cache.semantic.types import Entry, Neighbour, Vector

SORT_FROM: Final = 8192
"""So many rows are still searched one by one, in about a millisecond; more of them go into clusters."""
TAIL_SHARE: Final = 1 / 40
"""Of the clustered rows, so many may have come since they were clustered."""
IN_LOOP_ROWS: Final = 3072
"""A search of more rows than this takes above half a millisecond and leaves the event loop."""
ENTRY_BYTES: Final = 900
"""What an entry takes beside its vector and its text (sys.getsizeof of its parts)."""


class Held(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry without its vector, which is in a row."""

    entry_id: str
    answer_id: str
    text: str
    created_at: float
    expires_at: float
    value: float
    size_bytes: int


class Table:
    """See the module."""

    def __init__(self, tenant: str, scope: str, dim: int) -> None:
        self.tenant = tenant
        self.scope = scope
        self.size_bytes = 0
        self._dim = dim
        self._block: Clustered | None = None
        self._tail = Flat(dim)
        self._ends: Ends = np.zeros(16)
        self._slots = 0
        self._held: dict[int, Held] = {}
        self._slot_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, entry: Entry) -> Held | None:
        """Add or replace, and return what is held now; None for a vector of another length."""
        if entry.vector.shape != (self._dim,):
            return None
        self.remove(entry.entry_id)
        held = Held(
            entry_id=entry.entry_id,
            answer_id=entry.answer_id,
            text=entry.text,
            created_at=entry.created_at,
            expires_at=entry.expires_at,
            value=entry.value,
            size_bytes=4 * self._dim + len(entry.text.encode(errors="replace")) + ENTRY_BYTES,
        )
        slot = self._next_slot()
        self._ends[slot] = entry.expires_at
        self._tail.append(entry.vector, slot)
        self._held[slot] = held
        self._slot_of[entry.entry_id] = slot
        self.size_bytes += held.size_bytes
        return held

    def remove(self, entry_id: str) -> Held | None:
        """Remove and return what was held, None for an unknown id."""
        slot = self._slot_of.pop(entry_id, None)
        if slot is None:
            return None
        self._ends[slot] = 0
        held = self._held.pop(slot)
        self.size_bytes -= held.size_bytes
        return held

    def get(self, entry_id: str) -> Held | None:
        """Return what is held of an entry."""
        slot = self._slot_of.get(entry_id)
        return None if slot is None else self._held[slot]

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def ended(self, *, now: float) -> Sequence[str]:
        """Return the ids of entries that have ended but are still held."""
        ends = self._ends[: self._slots]
        return [self._held[int(slot)].entry_id for slot in np.flatnonzero((ends > 0) & (ends <= now))]

    @property
    def is_large(self) -> bool:
        """Return whether a search takes longer than an event loop should stand still."""
        return self._block is not None or len(self._tail) > IN_LOOP_ROWS

    def search(self, vectors: Sequence[Vector], *, now: float, k: int) -> Callable[[], list[Found | None]]:
        """Return a search of what is here now, fit for any thread; its results, one a vector, are for `neighbours`."""
        block, tail, ends = self._block, self._tail.parts(), self._ends

        def work() -> list[Found | None]:
            if block is not None:  # each looks into clusters of its own
                return [nearest([*block.parts(one), *tail], one, ends=ends, now=now, k=k) for one in vectors]
            return list(nearest_all(tail, vectors, ends=ends, now=now, k=k)) if tail else [None] * len(vectors)

        return work

    def neighbours(self, found: Found | None, *, now: float) -> Sequence[Neighbour]:
        """Return what a search found as entries, without those that went since."""
        if found is None:
            return ()
        living = []
        for slot, similarity, vector in zip(
            found.slots.tolist(), found.similarities.tolist(), found.vectors, strict=True
        ):
            held = self._held.get(slot)
            if held is not None and held.expires_at > now:
                entry = Entry(
                    entry_id=held.entry_id,
                    answer_id=held.answer_id,
                    tenant=self.tenant,
                    scope=self.scope,
                    text=held.text,
                    vector=vector,
                    created_at=held.created_at,
                    expires_at=held.expires_at,
                    value=held.value,
                )
                living.append(Neighbour(entry=entry, similarity=min(1.0, similarity)))
        return living

    def wants_sorting(self, *, is_filling: bool) -> bool:
        """Return whether too many rows came, or went, since the last time; while it is filled, fewer times will do."""
        clustered = len(self._block.slots) if self._block is not None else 0
        allowed = max(SORT_FROM if not clustered else SORT_FROM // 4, clustered * (1.0 if is_filling else TAIL_SHARE))
        rows = clustered + len(self._tail)
        return len(self._tail) > allowed or rows > 2 * len(self._held) + SORT_FROM // 4

    def sort(self, *, now: float) -> tuple[Callable[[], Clustered | None], Callable[[Clustered | None], None]]:
        """Return the two halves of a clustering: the work, fit for any thread, and what takes its result in here.

        Entries that come or go meanwhile are neither lost nor brought back.
        """
        block, tail, ends, seen = self._block, self._tail.parts(), self._ends, len(self._tail)

        def work() -> Clustered | None:
            return cluster([*([(block.rows, block.slots)] if block is not None else ()), *tail], ends=ends, now=now)

        def take(made: Clustered | None) -> None:
            rest = Flat(self._dim)
            for rows, slots in self._tail.parts(seen):
                rest.extend(rows, slots)
            self._block, self._tail = made, rest

        return work, take

    def _next_slot(self) -> int:
        if self._slots == len(self._ends):
            # A copy, not a resize: searches in other threads go on reading the old one.
            self._ends = np.concatenate([self._ends, np.zeros(max(16, self._slots // 2))])
        self._slots += 1
        return self._slots - 1
