"""One caller's place in a provider call that any number follow: what it has had, and what it waits for.

Never looks inside an answer beyond its finish_reason.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

from router.types import AnswerEvent, Block, Finished

# Quotes inside a JSON string are escaped, so that no text can look like this key.
_FINISH = re.compile(rb'[{,]\s*"finish_reason"\s*:\s*"')

Put = Callable[[bytes], bool]
"""Passes a block on without waiting; True: wait before the next one. Raises ConnectionError where nobody is there."""
PUT_BYTES = 16_384
"""Larger blocks come of a provider that never pauses: their caller has to keep up with it, which holds it up."""
_NOTHING = Block(data=b"")


class DeadlineExceeded(Exception):
    """The request's deadline passed before its answer was complete."""


class Interrupted(Exception):
    """The gateway ended the call itself: nobody was left to read it, it is shutting down, or it found a bug."""


class FellBehind(Exception):
    """A caller read so slowly that what it is due is kept no longer."""


class Source(Protocol):
    """What is used of the flight."""

    @property
    def is_done(self) -> bool: ...

    @property
    def is_whole(self) -> bool: ...

    @property
    def error(self) -> Exception | None: ...

    def blocks(self) -> bytes: ...

    def due(self, position: int) -> tuple[AnswerEvent, int] | None: ...

    def event_at(self, position: int) -> AnswerEvent | None: ...

    def has_read(self) -> None: ...

    def leave(self, follower: Follower, *, keep_running: bool) -> None: ...


class Follower:
    """One caller's place in a flight. Use `next` until it returns a Finished or raises; then `close`."""

    def __init__(self, flight: Source, *, deadline_s: float | None, heartbeat_s: float | None) -> None:
        self.flight = flight
        self.position = 0
        self.read_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._put: Put | None = None
        self._is_full = False
        self._position_before = 0
        self._is_quiet = False
        later = asyncio.get_running_loop().call_later if deadline_s is not None or heartbeat_s is not None else None
        self._timer = later(deadline_s, self._expire) if later and deadline_s is not None else None
        self._pulse = later(heartbeat_s, self._beat, heartbeat_s) if later and heartbeat_s is not None else None

    def put_through(self, put: Put) -> None:
        """Have blocks after the first put where they go while the caller waits for the next: nobody wakes up for them.

        Where `put` returns True the caller gets an empty block to wait with; what it raises is raised by `next`.
        """
        self._put = put

    def take(self, event: AnswerEvent) -> None:
        """Pass on what has just happened, for Flight: who waits for it has had everything before."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._put and self.read_bytes and isinstance(event, Block) and len(event.data) < PUT_BYTES:
            self.position += 1
            self.read_bytes += len(event.data)
            try:
                self._is_full = self._put(event.data)
            except ConnectionError as gone:
                self._error = gone
            if not self._is_full and self._error is None:
                return
        waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """Make the next `next` raise `error`."""
        self._error = error
        self.wake()

    def _expire(self) -> None:
        self.fail(DeadlineExceeded("no complete answer within the caller's own deadline"))

    def _beat(self, heartbeat_s: float) -> None:
        """Look whether anything has happened since the last time: one timer a caller, nothing to do per event."""
        if self.position == self._position_before and self._waiter is not None:
            self._is_quiet = True
            self.wake()
        self._position_before = self.position
        self._pulse = asyncio.get_running_loop().call_later(heartbeat_s, self._beat, heartbeat_s)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> AnswerEvent:
        """Return the next event. Raises the flight's error; cancel leaves the follower usable."""
        while (event := await self.next_or_quiet()) is None:
            pass
        return event

    async def next_or_quiet(self) -> AnswerEvent | None:
        """Return the next event as `next` does, or None where the provider has been quiet for `heartbeat_s`."""
        while True:
            if self._error is not None:
                raise self._error
            if self._is_full:
                self._is_full = False
                return _NOTHING
            if (found := self.flight.due(self.position)) is not None:
                event, self.position = found
                self._is_quiet = False
                if isinstance(event, Block):
                    self.read_bytes += len(event.data)
                    self.flight.has_read()
                return event
            if self.flight.is_done:
                raise self.flight.error or Interrupted("the answer ended without its last event")
            if self._is_quiet:
                self._is_quiet = False
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def has_seen_finish(self) -> bool:
        """Whether the last events read say that the answer's text is complete (a finish_reason, then only usage)."""
        seen = self.flight.event_at(self.position - 1) if self.position else None
        return isinstance(seen, Finished) or (isinstance(seen, Block) and _FINISH.search(seen.data) is not None)

    def close(self, *, keep_running: bool = False) -> None:
        """Leave the flight; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._pulse is not None:
            self._pulse.cancel()
        self.flight.leave(self, keep_running=keep_running)
