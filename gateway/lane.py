"""One link to a server, shared by concurrent callers: their commands travel together, one round trip at a time.

Knows nothing of Redis, and never runs a round trip in a caller's task: a caller that leaves takes its own future
with it, so a half-read reply can never reach somebody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.ports import StoreUnavailable
from gateway.supervisor import Supervisor, SupervisorClosed
from gateway.waiting import Command, Told, Waiting
from router.time_limits import STALL_S

State = Literal["up", "down"]
Standing = Literal["up", "down", "full"]

MAX_BATCH = 128


class LinkDown(Exception):
    """The link broke; whatever was under way is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The server answered one command with an error; `code` is its first word and holds no value.

    `to` is where MOVED and ASK point ("slot host:port"), empty in any other."""

    code: str
    to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The lane went up or down, or the server full; `reason` is fit for a log line."""

    state: Standing
    reason: str


class Link(Protocol):
    """The connection under a lane. Only the lane's own task calls it."""

    async def open(self) -> None:
        """Connect and prove it by a round trip. Raises LinkDown."""
        ...

    async def round_trip(self, commands: Sequence[Command]) -> Sequence[object]:
        """Send all, return one reply for each in order, errors as Refused. Raises LinkDown; cancel spoils the link."""
        ...

    async def drop(self) -> None:
        """Close at once, waiting for nothing; idempotent."""
        ...


class Lane:
    """Batches commands over one Link; fails fast while it is down and brings it back by itself.

    No caller waits longer than `timeout_s`. The first failure opens the breaker: everybody waiting is told, later
    callers fail at once, and one probe at a time (reconnect and round trip, each bounded) runs every
    `probe_interval_s` until one succeeds.
    """

    def __init__(
        self,
        link: Link,
        *,
        supervisor: Supervisor,
        timeout_s: float,
        open_timeout_s: float = 1.0,
        probe_interval_s: float = 0.25,
        on_transition: Callable[[Transition], None] | None = None,
    ) -> None:
        self._link = link
        self._supervisor = supervisor
        self._timeout_s = timeout_s
        self._open_timeout_s = open_timeout_s
        self._probe_interval_s = probe_interval_s
        self._on_transition = on_transition
        self._state: State = "up"
        self._reason = ""
        self._is_closed = False
        self._worker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: deque[Waiting] = deque()
        self._in_flight: tuple[Waiting, ...] = ()
        self._wake: asyncio.Future[None] | None = None
        self._is_silent = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_second_look = False

    @property
    def state(self) -> State:
        """Return "up" until something fails, "down" until a probe succeeds."""
        return self._state

    @property
    def reason(self) -> str:
        """Return why it last went down."""
        return self._reason

    async def ask(self, *commands: Command) -> Sequence[object]:
        """Return one reply for each command, Refused where the server said no. Raises StoreUnavailable.

        Cancel drops the replies; commands that were not sent yet are never sent.
        """
        replies = await self.begin(*commands)
        if replies is None:
            raise StoreUnavailable(self._reason)
        return replies

    def begin(self, *commands: Command) -> asyncio.Future[Sequence[object] | None]:
        """Queue commands and return the future of their replies (None: unavailable). Raises StoreUnavailable.

        For who asks several lanes at once; cancel the future to leave.
        """
        waiting = self._enter(commands)
        waiting.future = (self._loop or self._running_loop()).create_future()
        return waiting.future

    def post(self, *commands: Command, told: Told) -> None:
        """Send some time soon, in order with what was asked before; `told` hears how it went, None for not at all."""
        try:
            self._enter(commands).told = told
        except StoreUnavailable:
            told(None)

    def _enter(self, commands: tuple[Command, ...]) -> Waiting:
        """Queue the commands. Raises StoreUnavailable while the lane is down."""
        if self._worker is None or self._worker.done():
            self._start()
        if self._state == "down":
            raise StoreUnavailable(self._reason)
        loop = self._loop or self._running_loop()
        waiting = Waiting(commands, loop.time() + self._timeout_s)
        self._pending.append(waiting)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        if self._timer is None:
            self._timer = loop.call_at(waiting.due, self._check)
        return waiting

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the one loop that the lane lives in; asking asyncio for it is a system call each time."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        return loop

    async def close(self) -> None:
        """End the lane: whoever waits is told; idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        self._fail("the store is closed")
        await self._link.drop()

    def _start(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        try:
            self._worker = self._supervisor.spawn(self._run(), name="store lane")
        except SupervisorClosed as error:
            raise StoreUnavailable("the gateway is closing") from error

    async def _run(self) -> None:
        await self._open()
        while True:
            if not self._pending:
                self._wake = self._running_loop().create_future()
                await self._wake
            if self._state == "down":  # callers were given up before their commands could be sent
                await self._link.drop()
                await self._open()
            batch = self._take()
            if batch and not await self._exchange(batch):
                await self._open()

    async def _open(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._open_timeout_s):
                    await self._link.open()
            except LinkDown as error:
                reason = str(error)
            except TimeoutError:
                reason = f"no connection within {self._open_timeout_s:g} s"
            else:
                self._become("up", "connected")
                return
            await self._link.drop()
            self._fail(reason)
            await asyncio.sleep(self._probe_interval_s)

    def _take(self) -> tuple[Waiting, ...]:
        batch: list[Waiting] = []
        while self._pending and len(batch) < MAX_BATCH:
            waiting = self._pending.popleft()
            if not waiting.is_over:
                batch.append(waiting)
        return tuple(batch)

    async def _exchange(self, batch: tuple[Waiting, ...]) -> bool:
        self._in_flight = batch
        commands = [command for waiting in batch for command in waiting.commands]
        try:
            replies = await self._link.round_trip(commands)
        except LinkDown as error:
            reason = str(error)
        except asyncio.CancelledError:
            if not self._was_silence():
                raise
            reason = self._silence()
        else:
            if not self._was_silence():
                self._hand_out(batch, replies)
                return True
            reason = self._silence()
        self._fail(reason)
        await self._link.drop()
        return False

    def _was_silence(self) -> bool:
        """Whether `_check`, and nobody else, has cancelled the round trip: asyncio.timeout's way, without its timer."""
        if not self._is_silent:
            return False
        self._is_silent = False
        return self._worker is None or self._worker.uncancel() == 0

    def _hand_out(self, batch: tuple[Waiting, ...], replies: Sequence[object]) -> None:
        self._in_flight = ()
        at = 0
        for waiting in batch:
            end = at + len(waiting.commands)
            waiting.answer(replies[at:end])
            at = end
        self._become("up", "answered")

    def _check(self) -> None:
        """Tell whoever has waited too long. One timer serves all callers, so a call costs no timer of its own."""
        self._timer = None
        while self._pending and self._pending[0].is_over:
            self._pending.popleft()
        oldest = next(iter(self._in_flight or self._pending), None)
        loop = asyncio.get_running_loop()
        if oldest is None:
            self._is_second_look = False
        elif oldest.due > (now := loop.time()):
            self._is_second_look = False
            self._timer = loop.call_at(oldest.due, self._check)
        elif now - oldest.due > STALL_S and not self._is_second_look:
            self._is_second_look = True
            self._timer = loop.call_later(STALL_S, self._check)
        else:
            self._is_second_look = False
            is_under_way = bool(self._in_flight)
            self._fail(self._silence())
            if is_under_way and self._worker is not None:
                self._is_silent = True
                self._worker.cancel()

    def _silence(self) -> str:
        return f"no answer within {self._timeout_s * 1000:g} ms"

    def _fail(self, reason: str) -> None:
        self._become("down", reason)
        failed = (*self._in_flight, *self._pending)
        self._in_flight = ()
        self._pending.clear()
        for waiting in failed:
            waiting.answer(None)

    def _become(self, state: State, reason: str) -> None:
        if state == self._state:
            return
        self._state = state
        if state == "down":
            self._reason = reason
        if self._on_transition is not None and not self._is_closed:
            self._on_transition(Transition(state=state, reason=reason))
