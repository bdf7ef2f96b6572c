"""Bounds many short waits with one timer. Must not be held across a yield, nor know what is waited for."""

from __future__ import annotations

import asyncio
from types import TracebackType

from router.time_limits import STALL_S


class GapLimit:
    """`with gap:` around one await raises TimeoutError after `limit_s`, as asyncio.timeout would.

    asyncio.timeout sets and drops a timer each time, 5 µs a chunk, as much as all the rest we do with a chunk. Here one
    timer runs on and, when it fires, looks whether a wait has really taken that long. All waits are one task's.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._owner: asyncio.Task[object] | None = None
        self._is_waiting = False
        self._deadline = 0.0
        self._cancelling = 0
        self._has_fired = False
        self._is_second_look = False

    def __enter__(self) -> None:
        task = self._owner
        if task is None:  # asking for it is a system call
            task = self._owner = asyncio.current_task()
        self._cancelling = task.cancelling() if task is not None else 0
        self._is_waiting = True
        self._deadline = self._loop.time() + self._limit_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_waiting = False
        if self._has_fired and self._owner is not None:
            self._has_fired = False
            # Whoever else cancelled this task meanwhile wins, as in asyncio.timeout.
            if self._owner.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        """Drop the timer and let go of the task; idempotent."""
        self._owner = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._is_waiting or self._owner is None:
            return
        late_s = self._loop.time() - self._deadline
        if late_s < 0:
            self._is_second_look = False
            self._timer = self._loop.call_at(self._deadline, self._look)
            return
        if late_s > STALL_S and not self._is_second_look:  # our own loop stood still
            self._is_second_look = True
            self._timer = self._loop.call_later(STALL_S, self._look)
            return
        self._has_fired = True
        self._owner.cancel()
