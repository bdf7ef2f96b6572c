"""A class's state shared by all workers: each appends what happened to one log in Redis, and each folds all of it.

The log is the truth and Redis' order is everybody's order; a snapshot saves those who come later from folding it all.
Both keys carry the class in their hash tag (one Cluster slot) and no TTL. Must not decide anything about a request.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.cache.semantic.events import Event, EventUnreadable, decode_event, encode_event
from gateway.cache.semantic.features import PRIOR
from gateway.cache.semantic.snapshot import SnapshotUnreadable, decode_state, encode_state
from gateway.cache.semantic.state import begin, fold
from gateway.redis_replies import elements, mapping, optional, pair, text
from gateway.waiting import Command
from policies.rules import SemanticRules

SNAPSHOT_EVERY: Final = 1000
"""Events between two snapshots."""
LOG_EVENTS: Final = 20_000
"""The log keeps about so many; a worker that was away for longer begins at the snapshot again."""
PAGE: Final = 100
"""Events folded between two round trips, by a thread."""
_START: Final = "0-0"
_HEAD: Final = struct.Struct(">QQ")
# A late worker must not put an older snapshot over a newer one: ids compare as their 16 big-endian bytes.
_SAVE: Final = """
local old = redis.call('GETRANGE', KEYS[1], 0, 15)
if old < string.sub(ARGV[1], 1, 16) then redis.call('SET', KEYS[1], ARGV[1]) return 1 end
return 0
"""


class Runner(Protocol):
    """The part of RedisStore that this needs."""

    async def run(self, *commands: Command) -> list[object]:
        """Send commands in one round trip and return their replies in order. Raises StoreUnavailable."""
        ...


class SharedState:
    """One worker's copy of one class's state, as far as it has read the log.

    `name` is the class's: letters, digits and `:._-`. `state` may be read at any time; `refresh` moves it on.
    """

    def __init__(self, runner: Runner, name: str, rules: SemanticRules) -> None:
        self._runner = runner
        self._log = f"foreword:class:{{{name}}}:log"
        self._snapshot = f"foreword:class:{{{name}}}:snapshot"
        self._at = _START
        self._has_begun = False
        self._since_snapshot = 0
        self._folding = asyncio.Lock()
        self.rules = rules
        self.state = begin(PRIOR)

    async def append(self, events: Sequence[Event]) -> None:
        """Append events to the class's log; every worker sees them at its next `refresh`, this one too.

        Raises StoreUnavailable, after which some may be in the log.
        """
        if events:
            last: Command = ("XADD", self._log, "MAXLEN", "~", LOG_EVENTS, "*", "d", encode_event(events[-1]))
            first: list[Command] = [("XADD", self._log, "*", "d", encode_event(event)) for event in events[:-1]]
            await self._runner.run(*first, last)

    async def refresh(self) -> int:
        """Fold what the log has had since the last time, and return how many events that were.

        Two calls at once take turns, or each would fold what the other does. Raises StoreUnavailable, after which the
        state stands at what was folded so far; a cancelled caller's page is still folded to its end, by its thread.
        """
        async with self._folding:
            return await self._refresh()

    async def _refresh(self) -> int:
        if not self._has_begun or await self._has_missed_some():
            await self._begin_at_snapshot()
        folded = 0
        while True:
            (reply,) = await self._runner.run(("XRANGE", self._log, f"({self._at}", "+", "COUNT", PAGE))
            entries = [pair(entry) for entry in elements(reply)]
            read = [(text(entry_id), mapping(fields).get(b"d", b"")) for entry_id, fields in entries]
            # A label may take milliseconds (all cuts are looked at): never on the event loop.
            await asyncio.to_thread(self._fold_all, read)
            folded += len(entries)
            if self._since_snapshot >= SNAPSHOT_EVERY:
                await self.save()
            if len(entries) < PAGE:
                return folded

    def _fold_all(self, entries: Sequence[tuple[str, bytes]]) -> None:
        for entry_id, data in entries:
            self._fold(entry_id, data)

    def _fold(self, entry_id: str, data: bytes) -> None:
        self._at = entry_id
        self._since_snapshot += 1
        try:
            event = decode_event(data)
        except EventUnreadable:
            return  # of a newer version: its workers fold it, ours goes on without
        self.state = fold(self.state, event, self.rules)

    async def _has_missed_some(self) -> bool:
        """Whether the log was trimmed, or deleted, beyond where this worker stands."""
        (reply,) = await self._runner.run(("XRANGE", self._log, "-", "+", "COUNT", 1))
        oldest = [text(pair(entry)[0]) for entry in elements(reply)]
        if self._at == _START:
            return False
        return not oldest or _number(oldest[0]) > _number(self._at)

    async def _begin_at_snapshot(self) -> None:
        (reply,) = await self._runner.run(("GET", self._snapshot))
        saved = optional(reply)
        self._at, self._since_snapshot, self._has_begun = _START, 0, True
        self.state = begin(PRIOR)
        if saved is None or len(saved) < _HEAD.size:
            return
        try:
            self.state = decode_state(saved[_HEAD.size :], features=len(PRIOR))
        except SnapshotUnreadable:
            return
        milliseconds, number = _HEAD.unpack(saved[: _HEAD.size])
        self._at = f"{milliseconds}-{number}"

    async def save(self) -> None:
        """Store a snapshot of the state, unless there is a newer one. `refresh` does it now and then.

        Raises StoreUnavailable.
        """
        data = _HEAD.pack(*_number(self._at)) + encode_state(self.state)
        await self._runner.run(("EVAL", _SAVE, 1, self._snapshot, data))
        self._since_snapshot = 0


def _number(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
