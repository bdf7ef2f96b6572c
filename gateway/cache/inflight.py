"""Provider calls in flight: each runs once, in a task of its own, and any number of callers follow it.

The call belongs to this table, not to who asked first: a caller that leaves ends nothing that others wait for.
Never looks inside an answer, never decides what may be shared.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from gateway.ports import Job, Spawner
from router.errors import AttemptsFailed, NoDeployment
from router.time_limits import TimeLimits
from router.types import AnswerEvent, Block, Finished, Opened

# Quotes inside a JSON string are escaped, so that no text can look like this key.
_FINISH = re.compile(rb'[{,]\s*"finish_reason"\s*:\s*"')
UNREAD_LIMIT_BYTES = 1 << 20
"""The provider is read no further ahead of the slowest caller than this."""


class DeadlineExceeded(Exception):
    """The request's deadline passed before its answer was complete."""


class Interrupted(Exception):
    """The gateway ended the call itself: nobody was left to read it, it is shutting down, or it found a bug."""


class Flight:
    """One provider call and what it has produced so far. Read it through `follow`.

    `groups` are the model groups that may answer it.
    """

    def __init__(
        self, key: str | None, *, limits: TimeLimits, history_bytes: int, groups: frozenset[str] = frozenset()
    ) -> None:
        self.key = key
        self._limits = limits
        self.groups = groups
        self.opened: Opened | None = None
        self.finished: Finished | None = None
        self.error: Exception | None = None
        self.is_done = False
        self.is_joinable = key is not None
        self._history_bytes = history_bytes
        self._events: list[AnswerEvent] = []
        self._dropped = 0
        self._held_bytes = 0
        self._sent_bytes = 0
        self._followers: list[Follower] = []
        self._job: Job | None = None
        self._room = asyncio.Event()
        self._on_done: list[Callable[[], None]] = []

    @property
    def is_whole(self) -> bool:
        """Whether every event is still here, so that the answer can be stored, joined and put together."""
        return self._dropped == 0

    @property
    def callers(self) -> int:
        """Callers who wait for or read this call now."""
        return len(self._followers)

    @property
    def sent_bytes(self) -> int:
        """Bytes of answer text events seen so far."""
        return self._sent_bytes

    def follow(self, *, deadline_s: float | None = None) -> Follower:
        """Attach a caller; it gets every event from the first one. Only while `is_joinable` or before the start.

        `deadline_s` from now is this caller's own; the call goes on for the others.
        """
        follower = Follower(self, deadline_s=deadline_s)
        self._followers.append(follower)
        return follower

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call once the call has ended, however it ended; at once if it has."""
        if self.is_done:
            callback()
        else:
            self._on_done.append(callback)

    def blocks(self) -> bytes:
        """Return all streamed events; the whole answer only where `is_whole`."""
        return b"".join(event.data for event in self._events if isinstance(event, Block))

    async def run(self, source: AsyncGenerator[AnswerEvent, None], *, deadline_s: float) -> None:
        """Publish everything `source` yields until its end, its error or the deadline."""
        try:
            with self._limits.within(deadline_s):
                await self._pump(source)
        except TimeoutError:
            self.error = DeadlineExceeded(f"no complete answer within {deadline_s:g} s")
        finally:
            self.end()

    async def _pump(self, source: AsyncGenerator[AnswerEvent, None]) -> None:
        try:
            async with aclosing(source) as events:
                async for event in events:
                    self._publish(event)
                    if self._unread_bytes() > UNREAD_LIMIT_BYTES:
                        await self._wait_for_room()
        except (AttemptsFailed, NoDeployment) as exc:
            self.error = exc

    def _publish(self, event: AnswerEvent) -> None:
        if isinstance(event, Opened):
            self.opened = event
        elif isinstance(event, Finished):
            self.finished = event
        else:
            self._held_bytes += len(event.data)
            self._sent_bytes += len(event.data)
        self._events.append(event)
        if self._held_bytes > self._history_bytes:
            self.is_joinable = False
            self._forget_read()
        for follower in self._followers:
            follower.wake()

    def _forget_read(self) -> None:
        """Drop what every follower has read, once the answer is too large to be kept whole."""
        first = min((f.position for f in self._followers), default=self._dropped + len(self._events))
        gone = first - self._dropped
        self._held_bytes -= sum(len(e.data) for e in self._events[:gone] if isinstance(e, Block))
        del self._events[:gone]
        self._dropped = first

    def event_at(self, position: int) -> AnswerEvent | None:
        """Return the event a follower is due, None if it has not happened yet."""
        index = position - self._dropped
        return self._events[index] if 0 <= index < len(self._events) else None

    def _unread_bytes(self) -> int:
        if self._sent_bytes <= UNREAD_LIMIT_BYTES or not self._followers:
            return 0
        return self._sent_bytes - min(f.read_bytes for f in self._followers)

    async def _wait_for_room(self) -> None:
        while self._followers and self._unread_bytes() > UNREAD_LIMIT_BYTES // 2:
            self._room.clear()
            await self._room.wait()

    def has_read(self) -> None:
        """Tell the pump that a follower has moved on."""
        self._room.set()

    def leave(self, follower: Follower, *, keep_running: bool) -> None:
        """Detach a caller; the last one to leave cancels the provider call unless `keep_running`."""
        if follower in self._followers:
            self._followers.remove(follower)
        self._room.set()
        if not self._followers and not keep_running and not self.is_done and self._job is not None:
            self.is_joinable = False
            self._job.cancel()

    def attach_job(self, job: Job) -> None:
        """Remember the job to cancel when nobody is left."""
        self._job = job

    def end(self) -> None:
        """Note that the call is over, and tell everybody; idempotent. A job cancelled before it began never ran."""
        if self.is_done:
            return
        self.is_done = True
        self.is_joinable = False
        if self.finished is None and self.error is None:
            self.error = Interrupted("the provider call was ended by the gateway")
        for follower in self._followers:
            follower.wake()
        for callback in self._on_done:
            callback()


class Follower:
    """One caller's place in a flight. Use `next` until it returns a Finished or raises; then `close`."""

    def __init__(self, flight: Flight, *, deadline_s: float | None) -> None:
        self.flight = flight
        self.position = 0
        self.read_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer = None if deadline_s is None else asyncio.get_running_loop().call_later(deadline_s, self._expire)
        self._is_late = False

    def _expire(self) -> None:
        self._is_late = True
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> AnswerEvent:
        """Return the next event. Raises the flight's error; cancel leaves the follower usable."""
        while True:
            if self._is_late:
                raise DeadlineExceeded("no complete answer within the caller's own deadline")
            event = self.flight.event_at(self.position)
            if event is not None:
                self.position += 1
                if isinstance(event, Block):
                    self.read_bytes += len(event.data)
                    self.flight.has_read()
                return event
            if self.flight.is_done:
                raise self.flight.error or Interrupted("the answer ended without its last event")
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
        self.flight.leave(self, keep_running=keep_running)


class InFlight:
    """The table. One per worker; the key is the exact cache's."""

    def __init__(self, spawner: Spawner, *, history_bytes: int) -> None:
        self._spawner = spawner
        self._history_bytes = history_bytes
        self._limits = TimeLimits()
        self._by_key: dict[str, Flight] = {}
        self._running: set[Flight] = set()

    @property
    def count(self) -> int:
        """Provider calls running now."""
        return len(self._running)

    @property
    def callers(self) -> int:
        """Callers who wait for or read those calls."""
        return sum(flight.callers for flight in self._running)

    @property
    def open_keys(self) -> int:
        """Keys under which a call can still be found; 0 once nothing runs."""
        return len(self._by_key)

    def find(self, key: str) -> Flight | None:
        """Return the running call for `key` that a caller may still join."""
        flight = self._by_key.get(key)
        return flight if flight is not None and flight.is_joinable and not flight.is_done else None

    def start(
        self,
        key: str | None,
        source: AsyncGenerator[AnswerEvent, None],
        *,
        deadline_s: float,
        groups: frozenset[str] = frozenset(),
    ) -> Flight:
        """Start a call; a None key is never joined. The caller must `follow` before its next await."""
        flight = Flight(key, limits=self._limits, history_bytes=self._history_bytes, groups=groups)
        if key is not None:
            self._by_key[key] = flight
        self._running.add(flight)
        flight.when_done(lambda: self._forget(flight))
        call = flight.run(source, deadline_s=deadline_s)
        flight.attach_job(self._spawner.run_errand(call, name="provider-call", ended=flight.end))
        return flight

    def _forget(self, flight: Flight) -> None:
        self._running.discard(flight)
        if flight.key is not None and self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
