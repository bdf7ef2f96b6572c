"""What workers tell each other about entries: a Redis stream that each of them reads at its own place.

Carries names only, never text or vectors; whoever was away too long is told that it missed something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from gateway.cache.semantic.index.records import PREFIX, Commands
from gateway.redis_replies import elements, integer, mapping, pair, text
from gateway.waiting import Command

STREAM: Final = f"{PREFIX}:feed"
MOST_NOTICES: Final = 20_000
PAGE: Final = 128
START: Final = "0-0"


class Notice(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Entries of a scope came, went, or the whole scope did; `worker` is who did it."""

    change: Literal["add", "remove", "drop"]
    worker: str
    tenant: str
    scope: str
    entry_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missed:
    """The stream no longer has what came after our place: nothing in memory can be trusted."""


class Feed:
    """One worker's place in the stream. `worker` must be this process's alone; methods raise StoreUnavailable."""

    def __init__(self, store: Commands, *, worker: str, stream: str = STREAM, max_notices: int = MOST_NOTICES) -> None:
        self._store = store
        self._worker = worker
        self._stream = stream
        self._max_notices = max_notices
        self._place: str | None = None

    def telling(
        self, change: Literal["add", "remove", "drop"], tenant: str, scope: str, entry_ids: Sequence[str] = ()
    ) -> Command:
        """Return the command that tells the others; send it with the change itself."""
        notice = Notice(change=change, worker=self._worker, tenant=tenant, scope=scope, entry_ids=tuple(entry_ids))
        return ("XADD", self._stream, "MAXLEN", "~", self._max_notices, "*", "d", msgspec.msgpack.encode(notice))

    async def begin(self) -> None:
        """Take a place at the end, unless there is one: what is read from Redis after this misses no notice."""
        if self._place is not None:
            return
        (reply,) = await self._store.run(("XREVRANGE", self._stream, "+", "-", "COUNT", 1))
        newest = [text(pair(one)[0]) for one in elements(reply)]
        if self._place is None:
            self._place = newest[0] if newest else START

    async def read(self) -> Sequence[Notice] | Missed:
        """Return what others told since the last time, a page at most; nothing only where there is no more."""
        await self.begin()
        while True:
            place = self._place or START
            length, oldest, newer = await self._store.run(
                ("XLEN", self._stream),
                ("XRANGE", self._stream, "-", "+", "COUNT", 1),
                ("XRANGE", self._stream, f"({place}", "+", "COUNT", PAGE),
            )
            first = [text(pair(one)[0]) for one in elements(oldest)]
            if self._has_missed(place, first, integer(length)):
                self._place = None
                await self.begin()
                return Missed()
            found = [(text(name), mapping(fields)) for name, fields in map(pair, elements(newer))]
            if found:
                self._place = found[-1][0]
            notices = [notice for _, fields in found if (notice := self._others(fields)) is not None]
            if notices or len(found) < PAGE:
                return notices

    def _has_missed(self, place: str, first: Sequence[str], length: int) -> bool:
        if place == START:
            return length >= self._max_notices
        # The notice at our place is the last one we know to be there; without it, who knows what else has gone.
        return not first or _order(first[0]) > _order(place)

    def _others(self, fields: dict[bytes, bytes]) -> Notice | None:
        try:
            notice = msgspec.msgpack.decode(fields.get(b"d", b""), type=Notice)
        except msgspec.DecodeError:
            return None
        return notice if notice.worker != self._worker else None


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
