"""warmer.ports.Notes and Bookmark in one Redis hash, which the warmer that leads alone can write."""

from __future__ import annotations

from typing import Protocol

import msgspec

from gateway.ports import StoreUnavailable
from gateway.retained.kept import NOTES
from gateway.warming.leader import Leadership, NotLeader
from warmer.ports import HistoryUnavailable
from warmer.types import Mark

MARK = "mark"


class Hashes(Protocol):
    """Hashes that never expire. Raises StoreUnavailable."""

    async def hash_get(self, key: str, field: str) -> bytes | None: ...


class RedisNotes:
    """warmer.ports.Notes."""

    def __init__(self, store: Hashes, leadership: Leadership, *, key: str = NOTES) -> None:
        self._store = store
        self._leadership = leadership
        self._key = key

    async def load(self, name: str) -> bytes | None:
        """Return what was saved last under `name`."""
        try:
            return await self._store.hash_get(self._key, name)
        except StoreUnavailable as error:
            raise HistoryUnavailable(str(error)) from error

    async def save(self, name: str, value: bytes) -> None:
        """Replace it, unless somebody else leads by now."""
        try:
            await self._leadership.write(self._key, name, value)
        except StoreUnavailable as error:
            raise HistoryUnavailable(str(error)) from error
        except NotLeader as error:
            raise HistoryUnavailable("another warmer leads") from error


class RedisBookmark:
    """warmer.ports.Bookmark as one of the notes."""

    def __init__(self, notes: RedisNotes) -> None:
        self._notes = notes

    async def load(self) -> Mark | None:
        """Return the saved mark; a damaged one counts as none."""
        saved = await self._notes.load(MARK)
        try:
            return msgspec.json.decode(saved, type=Mark) if saved is not None else None
        except msgspec.DecodeError:
            return None

    async def save(self, mark: Mark) -> None:
        """Write the mark."""
        await self._notes.save(MARK, msgspec.json.encode(mark))
