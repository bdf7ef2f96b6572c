"""A store in this process's own memory: the first tier of the cache, and the fallback where there is no Redis.

Bounded by bytes, never by a count of entries. Shares nothing with other workers and survives no restart.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import islice
from typing import Self

from gateway.lane import State, Transition
from gateway.ports import Clock
from gateway.supervisor import Supervisor

ENTRY_OVERHEAD_BYTES = 300
"""What CPython needs for an entry beside its key and value (measured with tracemalloc, rounded up)."""


class MemoryStore:
    """Values with expiry (least recently used go first), hashes that stay, and bounded streams.

    `max_bytes` bounds keys, values, stream entries and what Python adds to each. Every operation on a value is O(1).
    Hashes (gateway keys) are counted but never evicted; a value that could never fit is not stored.
    """

    def __init__(self, clock: Clock, *, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._values: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._hashes: dict[str, dict[str, bytes]] = {}
        self._streams: dict[str, _Stream] = {}
        self._size_bytes = 0

    @classmethod
    def from_settings(
        cls,
        url: str,
        *,
        clock: Clock,
        supervisor: Supervisor,
        max_bytes: int,
        timeout_s: float,
        on_transition: Callable[[Transition], None] | None = None,
    ) -> Self:
        """Return a store as the table of stores makes them; memory has no address, tasks or time limit."""
        del url, supervisor, timeout_s, on_transition
        return cls(clock, max_bytes=max_bytes)

    @property
    def state(self) -> State:
        """Return "up": memory is always there."""
        return "up"

    @property
    def size_bytes(self) -> int:
        """Return what is held now, overhead included."""
        return self._size_bytes

    def peek(self, key: str) -> bytes | None:
        """Return what `get` returns, for callers that must not yield to the loop."""
        entry = self._values.get(key)
        if entry is None:
            return None
        value, expires_at = entry
        if self._clock.monotonic() >= expires_at:
            self._drop(key)
            return None
        self._values.move_to_end(key)
        return value

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None where there is none or it has expired. Never waits."""
        return self.peek(key)

    async def get_or_claim(self, key: str, token: bytes, *, ttl_s: float) -> bytes | None:
        """Return the value; where there is none put `token` there and return None."""
        value = self.peek(key)
        if value is None:
            self.put_soon(key, token, ttl_s=ttl_s)
        return value

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store for `ttl_s` seconds, replacing; 0 or less only deletes. Never waits."""
        self.put_soon(key, value, ttl_s=ttl_s)

    def put_soon(self, key: str, value: bytes, *, ttl_s: float, token: bytes = b"") -> None:  # noqa: ARG002
        """Store for `ttl_s` seconds, replacing, a token too; 0 or less, or a value beyond the bound, only deletes."""
        if key in self._values:
            self._drop(key)
        if ttl_s <= 0 or _cost(key, value) > self._max_bytes:
            return
        self._values[key] = (value, self._clock.monotonic() + ttl_s)
        self._size_bytes += _cost(key, value)
        self._shrink()

    async def claim(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Put unless there is a value; return whether it was put. Never waits."""
        if self.peek(key) is not None:
            return False
        await self.put(key, value, ttl_s=ttl_s)
        return True

    async def release(self, key: str, value: bytes) -> bool:
        """Delete `key` if it holds `value`; return whether it did. Never waits."""
        is_there = self.peek(key) == value
        self.release_soon(key, value)
        return is_there

    def release_soon(self, key: str, value: bytes) -> None:
        """Delete `key` if it holds `value`."""
        if self.peek(key) == value:
            self._drop(key)

    async def delete(self, keys: Sequence[str]) -> int:
        """Delete and return how many existed. Never waits."""
        existing = {key for key in keys if self.peek(key) is not None}
        for key in existing:
            self._drop(key)
        return len(existing)

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None:
        """Append; the stream keeps its newest `max_entries`, fewer where they exceed a quarter of the bytes."""
        held = self._streams.setdefault(stream, _Stream())
        before = held.size_bytes
        now_ms = int(self._clock.now() * 1000)
        for entry in entries:
            held.push(entry, now_ms)
        while held.entries and (len(held.entries) > max_entries or held.size_bytes > self._max_bytes // 4):
            held.pop()
        self._size_bytes += held.size_bytes - before
        self._shrink()

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return up to `limit` entries (id, bytes) with ids after `after`, oldest first."""
        start = _parsed(after)
        held = self._streams.get(stream, _Stream())
        newer = (entry for entry in held.entries if entry[0] > start)
        return [(f"{ms}-{number}", data) for (ms, number), data in islice(newer, limit)]

    async def hash_get(self, key: str, field: str) -> bytes | None:
        """Return one field of a hash, None where there is none."""
        return self._hashes.get(key, {}).get(field)

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool:
        """Set one field of a hash and return whether it was written (`only_new`: unless it was there)."""
        fields = self._hashes.setdefault(key, {})
        if only_new and field in fields:
            return False
        await self.hash_delete(key, field)
        self._hashes.setdefault(key, fields)[field] = value
        self._size_bytes += _cost(field, value)
        self._shrink()
        return True

    async def hash_set_all(self, key: str, fields: Mapping[str, bytes]) -> None:
        """Set several fields of a hash."""
        for field, value in fields.items():
            await self.hash_set(key, field, value)

    async def hash_all(self, key: str) -> Mapping[str, bytes]:
        """Return a copy of a whole hash."""
        return dict(self._hashes.get(key, {}))

    async def hash_delete(self, key: str, field: str) -> bool:
        """Delete one field of a hash and return whether it was there."""
        value = self._hashes.get(key, {}).pop(field, None)
        if value is None:
            return False
        self._size_bytes -= _cost(field, value)
        return True

    async def scan(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of all keys that begin with `prefix`."""
        values = [key for key in list(self._values) if key.startswith(prefix) and self.peek(key) is not None]
        others = [*self._hashes, *self._streams]
        for key in [*values, *(key for key in others if key.startswith(prefix))]:
            yield key

    async def close(self) -> None:
        """Forget everything; idempotent."""
        self._values.clear()
        self._hashes.clear()
        self._streams.clear()
        self._size_bytes = 0

    def _drop(self, key: str) -> None:
        value, _ = self._values.pop(key)
        self._size_bytes -= _cost(key, value)

    def _shrink(self) -> None:
        while self._values and self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._values)))


class _Stream:
    """Entries with ids that rise even where the time of day does not."""

    __slots__ = ("entries", "last_id", "size_bytes")

    def __init__(self) -> None:
        self.entries: deque[tuple[tuple[int, int], bytes]] = deque()
        self.last_id = (0, 0)
        self.size_bytes = 0

    def push(self, data: bytes, now_ms: int) -> None:
        ms, number = self.last_id
        self.last_id = (now_ms, 0) if now_ms > ms else (ms, number + 1)
        self.entries.append((self.last_id, data))
        self.size_bytes += _cost("", data)

    def pop(self) -> None:
        _, data = self.entries.popleft()
        self.size_bytes -= _cost("", data)


def _cost(name: str, value: bytes) -> int:
    """Return the bytes that an entry takes; a name counts as its characters, exact for the ASCII that keys are."""
    return len(name) + len(value) + ENTRY_OVERHEAD_BYTES


def _parsed(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)
