"""The supervisor: tasks are kept, crashes are told once, and closing ends everything in bounded time."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gateway.clock import SystemClock
from gateway.supervisor import Supervisor, SupervisorClosed


class SteppedClock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self._ticks: asyncio.Queue[None] = asyncio.Queue()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        await self._ticks.get()

    def tick(self) -> None:
        self._ticks.put_nowait(None)


class Crashes:
    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.seen.append((name, error))


def supervisor(crashes: Crashes) -> Supervisor:
    return Supervisor(clock=SystemClock(), on_crash=crashes)


async def crash() -> None:
    raise KeyError("no such thing")


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_crashed_task_is_reported_once_and_still_raises_for_who_awaits_it() -> None:
    crashes = Crashes()
    task = supervisor(crashes).spawn(crash(), name="lane")
    with pytest.raises(KeyError):
        await task
    await asyncio.sleep(0)
    assert [(name, type(error)) for name, error in crashes.seen] == [("lane", KeyError)]
    assert crashes.seen[0][1].__traceback__ is not None


async def test_a_task_that_nobody_holds_is_kept() -> None:
    done = asyncio.Event()
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        done.set()

    owner = supervisor(Crashes())
    owner.spawn(work(), name="work")
    await asyncio.sleep(0)
    gc.collect()
    assert list(owner.names) == ["work"]
    gate.set()
    await done.wait()
    await asyncio.sleep(0)
    assert list(owner.names) == []


async def test_close_cancels_all_and_reports_no_crash() -> None:
    crashes = Crashes()
    owner = supervisor(crashes)
    tasks = [owner.spawn(for_ever(), name=str(number)) for number in range(3)]
    assert await owner.close(1.0) == ()
    assert all(task.cancelled() for task in tasks)
    assert crashes.seen == []


async def test_close_names_the_tasks_that_do_not_end_in_time() -> None:
    gate = asyncio.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    owner = supervisor(Crashes())
    task = owner.spawn(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    assert await owner.close(0.02) == ("stubborn",)
    gate.set()
    await asyncio.wait([task])


async def test_nothing_starts_once_closing_has_begun() -> None:
    owner = supervisor(Crashes())
    await owner.close(0.1)
    with pytest.raises(SupervisorClosed, match="late"):
        owner.spawn(for_ever(), name="late")


async def test_a_supervised_task_may_close_the_supervisor() -> None:
    owner = supervisor(Crashes())
    assert await owner.spawn(owner.close(1.0), name="closer") == ()


async def test_a_periodic_task_goes_on_after_a_failure_and_reports_each_row_of_failures_once() -> None:
    crashes, clock = Crashes(), SteppedClock()
    owner = Supervisor(clock=clock, on_crash=crashes)
    outcomes = iter([True, False, False, True, False])
    turns: asyncio.Queue[bool] = asyncio.Queue()

    async def act() -> None:
        is_good = next(outcomes)
        turns.put_nowait(is_good)
        if not is_good:
            raise ValueError

    owner.every(7.0, act, name="poll")
    for _ in range(5):
        clock.tick()
        await turns.get()
    await asyncio.sleep(0)
    assert clock.slept[:5] == [7.0] * 5
    assert [name for name, _ in crashes.seen] == ["poll", "poll"]
    await owner.close(1.0)
