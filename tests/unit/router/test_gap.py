"""One timer bounds every single wait, and cancels nobody else."""

from __future__ import annotations

import asyncio

import pytest

from router.gap import GapLimit
from tests.standing_still import read_meanwhile, wait_meanwhile
from tests.virtual_time import in_virtual_time


async def test_a_wait_that_takes_too_long_raises() -> None:
    gap = GapLimit(0.03)
    with pytest.raises(TimeoutError), gap:
        await asyncio.Event().wait()
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    gap.close()


def test_many_short_waits_may_take_longer_than_one() -> None:
    async def wait() -> None:
        gap = GapLimit(0.2)
        for _ in range(30):
            with gap:
                await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError), gap:
            await asyncio.Event().wait()
        gap.close()

    in_virtual_time(wait())


def test_time_spent_outside_the_wait_is_free() -> None:
    async def wait() -> None:
        gap = GapLimit(0.03)
        with gap:
            await asyncio.sleep(0)
        await asyncio.sleep(0.06)  # the consumer's time: the timer fires and finds nobody waiting
        with gap:
            await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError), gap:
            await asyncio.Event().wait()
        gap.close()

    in_virtual_time(wait())


async def test_a_cancellation_from_outside_stays_one() -> None:
    gap = GapLimit(5)
    waiting = asyncio.Event()

    async def wait() -> None:
        with gap:
            waiting.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(wait())
        await waiting.wait()
        task.cancel()
    assert task.cancelled()
    gap.close()


async def test_what_came_while_the_loop_stood_still_came_in_time() -> None:
    gap = GapLimit(0.02)
    assert await read_meanwhile(gap) == b"x"
    gap.close()


async def test_a_loop_that_stood_still_waits_no_longer_than_for_another_look() -> None:
    gap = GapLimit(0.02)
    with pytest.raises(TimeoutError):
        await wait_meanwhile(gap)
    gap.close()
