"""Bounds waits as asyncio.timeout does, with one timer for all of them. Must not be held across a yield of a generator.

asyncio.timeout sets and drops a timer of its own each time, 15 µs, and of a thousand waits not one takes too long. Here
waits are put into boxes of TICK_S by when they are due, and one timer looks into the box that is due next.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from math import ceil
from types import TracebackType
from typing import Final

TICK_S: Final = 0.01
"""A wait is ended this much late at most, never early, where the loop itself is not late."""
STALL_S: Final = 0.01
"""A timer that is this late says that our own event loop stood still, not that anybody was silent. What came meanwhile
is still to be read: there is a second look, after as long."""


class TimeLimits:
    """The waits of one event loop; made before it runs, if need be."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._boxes: dict[int, set[TimeLimit]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_second_look = False

    @property
    def count(self) -> int:
        """Waits under way."""
        return sum(map(len, self._boxes.values()))

    def within(self, limit_s: float) -> TimeLimit:
        """`with limits.within(limit_s):` around awaits raises TimeoutError after `limit_s` seconds."""
        return TimeLimit(self, limit_s)

    def box_at(self, limit_s: float) -> set[TimeLimit]:
        """Return the box for a wait that begins now; for TimeLimit."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        tick = ceil((loop.time() + limit_s) / TICK_S)
        box = self._boxes.get(tick)
        if box is None:
            box = self._boxes[tick] = set()
            heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._arm(loop)
        return box

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._ticks[0] * TICK_S, self._look)

    def _look(self) -> None:
        """End the waits of boxes that are due, drop empty ones, and look again when the next one is."""
        self._timer = None
        loop = self._loop
        assert loop is not None
        now = loop.time() + TICK_S / 10  # timers may fire a little early
        if not self._is_second_look and self._ticks and now - self._ticks[0] * TICK_S > STALL_S:
            self._is_second_look = True
            self._timer = loop.call_later(STALL_S, self._look)
            return
        self._is_second_look = False
        while self._ticks and (self._ticks[0] * TICK_S <= now or not self._boxes[self._ticks[0]]):
            for limit in self._boxes.pop(heappop(self._ticks)):
                limit.expire()
        if self._ticks:
            self._arm(loop)


class TimeLimit:
    """One wait; see TimeLimits.within. Cancelling from elsewhere wins, as in asyncio.timeout."""

    __slots__ = ("_box", "_cancelling", "_has_expired", "_limit_s", "_limits", "_task")

    def __init__(self, limits: TimeLimits, limit_s: float) -> None:
        self._limits = limits
        self._limit_s = limit_s

    def __enter__(self) -> None:
        self._has_expired = False
        self._task = task = asyncio.current_task()
        self._cancelling = task.cancelling() if task is not None else 0
        self._box = box = self._limits.box_at(self._limit_s)
        box.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._has_expired:
            self._box.discard(self)
        elif task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """End the wait; for TimeLimits."""
        if self._task is not None:
            self._has_expired = True
            self._task.cancel()
