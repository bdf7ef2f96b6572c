"""The owner of a worker's pools, where two of its tasks meet."""

from __future__ import annotations

import asyncio

from gateway.budgets.books import Budgets
from gateway.budgets.meters import Meter
from gateway.budgets.pool import Reservation
from gateway.waiting import Command
from tests.clock import FakeClock


class Slow:
    """Stands for a Redis with room for everything, which answers once it `may`."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()

    async def run(self, *commands: Command) -> list[object]:
        await self.may.wait()
        return [[1, *([10**9] * 2 * (int(command[2]) - 3))] for command in commands]


def meter(name: str) -> Meter:
    """Return one by this name."""
    return Meter(key=name, name=name, unit="nanousd", limit=10**12, ends_at=1e12, is_hard=True)


async def test_two_flushes_at_once_forget_an_idle_pool_once() -> None:
    redis = Slow()
    budgets = Budgets(redis, FakeClock())
    held = await budgets.reserve("{b:p}", (meter("busy"),), (5,))
    assert isinstance(held, Reservation)
    budgets.settle(held, (3,))
    idle = budgets.pool("{b:p}", (meter("idle"),))
    redis.may.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(budgets.flush())
        await asyncio.sleep(0)
        await budgets.flush()  # as at closing time
        assert idle.is_forgotten
        again = budgets.pool("{b:p}", (meter("idle"),))
        redis.may.set()
    assert budgets.pool("{b:p}", (meter("idle"),)) is again
