"""Short jobs in tasks that are used again: making and dropping a task takes 30 us in Python 3.11, waking one takes 3.

The Supervisor owns the tasks; must not know what the jobs do, nor outlive it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

MAX_IDLE: Final = 256
"""Tasks that wait for the next job; what a burst needed beyond is let go."""
IDLE: Final = "idle"


class Errand:
    """One job under way."""

    __slots__ = ("coro", "ended", "is_cancelled", "name", "task")

    def __init__(self, coro: Coroutine[object, object, None], name: str, ended: Callable[[], None]) -> None:
        self.coro = coro
        self.name = name
        self.ended = ended
        self.is_cancelled = False
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Cancel the job, once; one that has not begun never will."""
        if not self.is_cancelled:
            self.is_cancelled = True
            if self.task is not None:
                self.task.cancel()


class Errands:
    """The tasks of one event loop. `spawn` makes one; `on_crash` hears of jobs that raise."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[object, object, None], str], object],
        on_crash: Callable[[str, BaseException], None],
    ) -> None:
        self._spawn = spawn
        self._on_crash = on_crash
        self._idle: list[asyncio.Future[Errand]] = []

    def start(self, coro: Coroutine[object, object, None], *, name: str, ended: Callable[[], None]) -> Errand:
        """Run `coro` soon, and call `ended` once it is over, however it ended. Raises what `spawn` raises."""
        errand = Errand(coro, name, ended)
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():  # else its task has been ended meanwhile
                waiting.set_result(errand)
                return errand
        self._spawn(self._work(errand), IDLE)
        return errand

    async def _work(self, errand: Errand) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        while True:
            await self._do(task, errand)
            if len(self._idle) >= MAX_IDLE:
                return
            waiting: asyncio.Future[Errand] = loop.create_future()
            self._idle.append(waiting)
            del errand  # it holds the call's whole answer, and the last of many idle tasks may wait for ever
            errand = await waiting

    async def _do(self, task: asyncio.Task[None], errand: Errand) -> None:
        """Do one job; only who cancels the task itself ends it."""
        try:
            if errand.is_cancelled:
                errand.coro.close()
                return
            errand.task = task
            task.set_name(errand.name)
            await errand.coro
        except asyncio.CancelledError:
            if not errand.is_cancelled or task.cancelling() > 1:
                raise
        except Exception as error:  # the Supervisor's own duty, done here so that the task can go on
            self._on_crash(errand.name, error)
        finally:
            errand.task = None
            if errand.is_cancelled and task.cancelling():
                task.uncancel()
            task.set_name(IDLE)
            errand.ended()
