"""Budgets where one thing goes wrong: late commands, lost replies, charged leases, clients that leave."""

from __future__ import annotations

import asyncio
import random

from gateway.budgets.books import LEASE_S, Budgets, Unavailable
from gateway.budgets.pool import Reservation
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from gateway.waiting import Command
from tests.clock import FakeClock
from tests.property.test_budgets import Lossy, a_tag, meters, shown


class Gated:
    """A store whose calls wait at a gate while it is shut, and may be done long after their caller has given up."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.has_come = asyncio.Event()
        self.late: list[tuple[Command, ...]] = []
        self.loses = False

    async def run(self, *commands: Command) -> list[object]:
        self.has_come.set()
        if self.loses:
            self.late.append(commands)
            raise StoreUnavailable("no answer in time")
        await self.gate.wait()
        return await self._store.run(*commands)

    async def do_what_is_late(self) -> None:
        """Let Redis do what everybody had given up."""
        for commands in self.late:
            await self._store.run(*commands)
        self.late.clear()


async def quiet(worker: Budgets, *, flushes: int = 12) -> None:
    """Flush until nothing is kept at hand."""
    for _ in range(flushes):
        await worker.flush()


async def test_what_is_being_given_back_cannot_be_taken_meanwhile(store: RedisStore) -> None:
    tag = a_tag()
    (meter,) = meters(tag, [100])
    gated = Gated(store)
    worker, other = Budgets(gated, FakeClock()), Budgets(store, FakeClock())
    first = await worker.reserve(tag, (meter,), [100])
    assert isinstance(first, Reservation)
    worker.settle(first, [0])
    for pool in worker._pools.values():
        pool.demand = [0]  # nothing was asked for lately: the next flush gives all of it back
    gated.gate.clear()
    gated.has_come.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.flush())
        await gated.has_come.wait()
        taking = group.create_task(worker.reserve(tag, (meter,), [60]))
        await asyncio.sleep(0)
        gated.gate.set()
    found = [taking.result(), await other.reserve(tag, (meter,), [60])]
    granted = [
        (owner, reservation)
        for owner, reservation in zip((worker, other), found, strict=True)
        if isinstance(reservation, Reservation)
    ]
    assert len(granted) == 1
    for owner, reservation in granted:
        owner.settle(reservation, [60])
    await quiet(worker)
    await quiet(other)
    spent, reserved = await shown(store, meter)
    assert (spent, reserved) == (60, 0)


async def test_a_command_that_redis_does_late_is_not_counted_again(store: RedisStore) -> None:
    tag = a_tag()
    (meter,) = meters(tag, [1000])
    gated = Gated(store)
    worker = Budgets(gated, FakeClock())
    kept, done = [await worker.reserve(tag, (meter,), [50]) for _ in range(2)]
    assert isinstance(kept, Reservation)
    assert isinstance(done, Reservation)
    worker.settle(done, [30])
    gated.loses = True
    await worker.flush()
    gated.loses = False
    # Redis is asked what became of it, and says that it never came; then it comes after all.
    (pool,) = worker._pools.values()
    await worker._make_sure(pool)
    assert gated.late
    await gated.do_what_is_late()
    await quiet(worker)
    assert await shown(store, meter) == (30, 50)
    worker.settle(kept, [50])
    await quiet(worker)
    assert await shown(store, meter) == (80, 0)


async def test_a_first_reservation_whose_reply_was_lost_is_given_back_and_not_charged(store: RedisStore) -> None:
    tag, clock = a_tag(), FakeClock()
    (meter,) = meters(tag, [1000])
    gated = Gated(store)
    worker = Budgets(gated, clock)
    await Budgets(store, clock).reserve(tag, (meter,), [0])  # Redis has the script from here on
    gated.loses = True
    assert isinstance(await worker.reserve(tag, (meter,), [70]), Unavailable)
    gated.loses = False
    await gated.do_what_is_late()
    assert (await shown(store, meter))[1] >= 70
    await quiet(worker)
    clock.wind(LEASE_S * 2)
    await Budgets(store, clock).expire(tag)
    assert await shown(store, meter) == (0, 0)


async def test_a_request_of_a_lease_that_was_charged_is_not_booked_on_the_next_one(store: RedisStore) -> None:
    tag, clock = a_tag(), FakeClock()
    (meter,) = meters(tag, [100])
    worker = Budgets(store, clock)
    slow = await worker.reserve(tag, (meter,), [40])
    assert isinstance(slow, Reservation)
    clock.wind(LEASE_S + 1)
    assert await Budgets(store, clock).expire(tag) == 1
    quick = await worker.reserve(tag, (meter,), [50])
    assert isinstance(quick, Reservation)
    worker.settle(slow, [40])
    worker.settle(quick, [50])
    await quiet(worker)
    assert await shown(store, meter) == (90, 0)


async def test_what_was_let_through_without_redis_makes_no_room_in_the_lease(store: RedisStore) -> None:
    tag = a_tag()
    soft = meters(tag, [100], is_hard=False)
    away = Lossy(store, random.Random(0), loss=0.0)
    worker = Budgets(away, FakeClock())
    kept = await worker.reserve(tag, soft, [20])
    assert isinstance(kept, Reservation)
    away.loss = 2.0
    passed = await worker.reserve(tag, soft, [30])
    assert isinstance(passed, Reservation)
    assert passed.is_offline
    worker.settle(passed, [1])
    # 29 units that were never in the lease came back: they are nobody's to take.
    (pool,) = worker._pools.values()
    assert pool.take((25,)) is None
    worker.settle(kept, [20])
    away.loss = 0.0
    await quiet(worker)
    assert await shown(store, soft[0]) == (21, 0)


async def test_a_request_is_booked_to_the_window_in_which_it_was_reserved(store: RedisStore) -> None:
    tag, clock = a_tag(), FakeClock()
    before, after = meters(tag, [100, 100])
    worker = Budgets(store, clock)
    late = await worker.reserve(tag, (before,), [60])
    assert isinstance(late, Reservation)
    clock.wind(1.0)  # the window has ended: the next request has the next meter, all of it
    early = await worker.reserve(tag, (after,), [100])
    assert isinstance(early, Reservation)
    worker.settle(late, [55])
    worker.settle(early, [90])
    await quiet(worker)
    assert await shown(store, before) == (55, 0)
    assert await shown(store, after) == (90, 0)


async def test_clients_that_leave_while_they_reserve_hold_nothing(store: RedisStore) -> None:
    tag, rng = a_tag(), random.Random(3)
    (meter,) = meters(tag, [2_000])
    workers = [Budgets(store, FakeClock()) for _ in range(4)]
    booked = 0

    async def client(at: int) -> None:
        nonlocal booked
        worker = workers[at % 4]
        for _ in range(6):
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(worker.reserve(tag, (meter,), [rng.randrange(1, 30)]))
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                if rng.random() < 0.5:
                    asking.cancel()
            found = None if asking.cancelled() else asking.result()
            if isinstance(found, Reservation):
                booked += found.amounts[0]
                worker.settle(found, found.amounts)

    await asyncio.gather(*(client(at) for at in range(64)))
    for worker in workers:
        await quiet(worker)
    assert await shown(store, meter) == (booked, 0)
    assert 500 < booked <= 2_000
