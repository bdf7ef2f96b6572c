from __future__ import annotations

import asyncio

import pytest

from router.time_limits import TICK_S, TimeLimit, TimeLimits
from tests.standing_still import read_meanwhile, wait_meanwhile


async def test_a_wait_that_takes_too_long_ends_and_a_short_one_does_not() -> None:
    limits = TimeLimits()
    with limits.within(60):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), limits.within(0.02):
        await asyncio.Event().wait()
    assert limits.count == 0


async def test_waits_end_in_the_order_in_which_they_are_due() -> None:
    limits, ended = TimeLimits(), list[int]()

    async def wait(number: int, limit_s: float) -> None:
        try:
            with limits.within(limit_s):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append(number)

    async with asyncio.TaskGroup() as group:
        for number in (3, 1, 2):
            group.create_task(wait(number, number * TICK_S * 3))
    assert ended == [1, 2, 3]


async def test_the_inner_of_two_limits_ends_alone() -> None:
    limits = TimeLimits()
    with limits.within(60):
        with pytest.raises(TimeoutError), limits.within(0.01):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_cancels_from_outside_wins() -> None:
    limits = TimeLimits()

    async def wait() -> None:
        with limits.within(60):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    assert limits.count == 0


async def test_a_cancel_in_the_turn_in_which_the_time_is_up_is_a_cancel() -> None:
    limits = TimeLimits()

    async def wait(limit: TimeLimit) -> None:
        with limit:
            await asyncio.Event().wait()

    limit = limits.within(60)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait(limit))
        await asyncio.sleep(0)
        limit.expire()
        task.cancel()
    assert task.cancelled()


async def test_thousands_of_waits_leave_one_timer_and_nothing_else() -> None:
    limits = TimeLimits()
    for _ in range(5000):
        with limits.within(0.05):
            pass
    assert limits.count == 0
    await asyncio.sleep(0.1)
    assert limits._boxes == {}
    assert limits._timer is None


async def test_what_came_while_the_loop_stood_still_came_in_time() -> None:
    assert await read_meanwhile(TimeLimits().within(0.02)) == b"x"


async def test_a_loop_that_stood_still_waits_no_longer_than_for_another_look() -> None:
    with pytest.raises(TimeoutError):
        await wait_meanwhile(TimeLimits().within(0.02))
