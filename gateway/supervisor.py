"""Keeps every task that outlives a request, reports the ones that crash, and ends them all.

The only place that creates tasks outside a TaskGroup. Must not know what its tasks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from gateway.errands import Errand, Errands
from gateway.ports import Clock

T = TypeVar("T")

CrashReport = Callable[[str, BaseException], None]
"""Called once for a task that crashed, with its name and error; must not raise."""


class SupervisorClosed(RuntimeError):
    """A task was to be started after the supervisor had begun to close."""


class Supervisor:
    """Owner of the lifetime tasks of one event loop. `on_crash` hears of every error that no task handled itself."""

    def __init__(self, *, clock: Clock, on_crash: CrashReport) -> None:
        self._clock = clock
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_closing = False
        self._errands = Errands(lambda coro, name: self.spawn(coro, name=name), on_crash)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks that run now, sorted."""
        return tuple(sorted(task.get_name() for task in self._tasks))

    def spawn(self, coro: Coroutine[object, object, T], *, name: str) -> asyncio.Task[T]:
        """Start `coro` as a task that is kept until it ends.

        Awaiting the task still raises what it raised. Raises SupervisorClosed once `close` has begun.
        """
        if self._is_closing:
            coro.close()
            raise SupervisorClosed(f"{name}: the supervisor is closing")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def run_errand(self, coro: Coroutine[object, object, None], *, name: str, ended: Callable[[], None]) -> Errand:
        """Run a short job soon in a task that was used before; `ended` is called once it is over, however it ended.

        Nobody can await it: an error it raises is a crash. Raises SupervisorClosed once `close` has begun.
        """
        if self._is_closing:
            coro.close()
            raise SupervisorClosed(f"{name}: the supervisor is closing")
        return self._errands.start(coro, name=name, ended=ended)

    def every(self, interval_s: float, act: Callable[[], Awaitable[object]], *, name: str) -> asyncio.Task[None]:
        """Call `act` after each `interval_s` on the clock until closed.

        A failing call does not end the series; the first failure of a row of failures is reported.
        """
        return self.spawn(self._repeat(interval_s, act, name), name=name)

    async def close(self, grace_s: float) -> tuple[str, ...]:
        """Cancel every task, wait up to `grace_s` seconds, and return the names of those that still run.

        Safe to call again. A cancelled caller leaves the tasks cancelled but perhaps not yet ended.
        """
        self._is_closing = True
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=grace_s)
        return tuple(sorted(task.get_name() for task in tasks))

    async def _repeat(self, interval_s: float, act: Callable[[], Awaitable[object]], name: str) -> None:
        is_failing = False
        while True:
            await self._clock.sleep(interval_s)
            try:
                await act()
            except Exception as error:  # a periodic task must outlive one bad turn
                if not is_failing:
                    self._on_crash(name, error)
                is_failing = True
            else:
                is_failing = False

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._on_crash(task.get_name(), error)
