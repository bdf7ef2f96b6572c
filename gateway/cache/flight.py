"""One provider call that any number of callers follow, each at a pace of their own.

The call belongs to nobody: a caller that leaves ends nothing that others wait for. Never looks inside an answer, never
decides what may be shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from gateway.cache.follower import DeadlineExceeded, FellBehind, Follower, Interrupted
from gateway.ports import Job
from router.errors import AttemptsFailed, NoDeployment
from router.time_limits import TimeLimits
from router.types import AnswerEvent, Block, Finished, Opened

UNREAD_LIMIT_BYTES = 1 << 18
"""The provider is read no further ahead of the fastest caller than this."""
JOINED_BYTES = 1 << 16
"""So much of what happened before is handed to a late caller as one block: one write instead of hundreds."""


class Flight:
    """One provider call and what it has produced so far. Read it through `follow`.

    The fastest caller sets the pace: while nobody reads, the provider is not read either. The others read from what is
    kept, `history_bytes` at most; who is further behind than that loses the answer (FellBehind), since waiting for one
    would hold up all. `groups` are the model groups that may answer it.
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
        self.is_held_back = False
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

    def follow(self, *, deadline_s: float | None = None, heartbeat_s: float | None = None) -> Follower:
        """Attach a caller; it gets every event from the first one. Only while `is_joinable` or before the start.

        `deadline_s` from now is this caller's own; the call goes on for the others. `next_or_quiet` tells of every
        `heartbeat_s` without an event.
        """
        follower = Follower(self, deadline_s=deadline_s, heartbeat_s=heartbeat_s)
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
                    if self._sent_bytes > UNREAD_LIMIT_BYTES and self.unread_bytes > UNREAD_LIMIT_BYTES:
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
            while self._held_bytes > self._history_bytes and len(self._followers) > 1:
                self._leave_behind()
        for follower in self._followers:
            follower.take(event)

    def _forget_read(self) -> None:
        """Drop what every follower has read, once the answer is too large to be kept whole."""
        first = min((f.position for f in self._followers), default=self._dropped + len(self._events))
        gone = first - self._dropped
        self._held_bytes -= sum(len(e.data) for e in self._events[:gone] if isinstance(e, Block))
        del self._events[:gone]
        self._dropped = first

    def _leave_behind(self) -> None:
        """Give up on the slowest caller, for whom alone so much is kept."""
        slowest = min(self._followers, key=lambda follower: follower.position)
        self._followers.remove(slowest)
        slowest.fail(FellBehind(f"the answer was read more than {self._history_bytes} bytes behind its other readers"))
        self._forget_read()

    def due(self, position: int) -> tuple[AnswerEvent, int] | None:
        """Return what a follower at `position` is due and the position after it: one event, or the blocks in a row that
        have gathered since as one; None if it has not happened yet."""
        index = position - self._dropped
        if not 0 <= index < len(self._events):
            return None
        event = self._events[index]
        if index + 1 == len(self._events) or not isinstance(event, Block):
            return event, position + 1
        parts, size = [event.data], len(event.data)
        for following in self._events[index + 1 :]:
            if not isinstance(following, Block) or size + len(following.data) > JOINED_BYTES:
                break
            parts.append(following.data)
            size += len(following.data)
        return Block(data=b"".join(parts)), position + len(parts)

    def event_at(self, position: int) -> AnswerEvent | None:
        """Return an event that is kept, else None."""
        index = position - self._dropped
        return self._events[index] if 0 <= index < len(self._events) else None

    @property
    def unread_bytes(self) -> int:
        """How far the fastest caller is behind; 0 where nobody is left and the end is read for its usage."""
        return self._sent_bytes - max((f.read_bytes for f in self._followers), default=self._sent_bytes)

    async def _wait_for_room(self) -> None:
        self.is_held_back = True
        while self.unread_bytes > UNREAD_LIMIT_BYTES // 2:
            self._room.clear()
            await self._room.wait()
        self.is_held_back = False

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
        # Callbacks and job hold what holds this flight: without the cycle a request's memory is free when it ends, and
        # not when the collector comes by.
        callbacks, self._on_done, self._job = self._on_done, [], None
        for callback in callbacks:
            callback()
