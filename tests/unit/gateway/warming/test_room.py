"""Where a warm's call may begin: below half of what the deployment takes, everybody's calls counted, and after all who
wait. On a wound clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.loads import Load
from gateway.ports import StoreUnavailable
from gateway.warming.room import LOOK_S, NoRoom, Room
from router.attempts import Limits
from router.traffic import Traffic
from router.types import Deployment
from tests.clock import FakeClock

DEPLOYMENT = Deployment(
    id="d", group="small", provider="openai", model="m", backend="openai_wire", api_base="", secret="", price=None
)


def load(in_flight: int = 0, *, waiting: int = 0, limit: int = 256, learnt: bool = False, name: str = "d") -> Load:
    return Load(deployment_id=name, in_flight=in_flight, waiting=waiting, limit=limit, is_learnt=learnt)


@dataclass(slots=True)
class Told:
    """What this process and the others say."""

    mine: list[Load] = field(default_factory=list)
    others: list[Load] = field(default_factory=list)
    is_away: bool = False
    looks: int = 0

    def own(self) -> Sequence[Load]:
        return self.mine

    async def heard(self) -> Sequence[Load]:
        self.looks += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("away")
        return self.others


def a_room(told: Told, *deployments: Deployment, clock: FakeClock | None = None) -> Room:
    found = deployments or (DEPLOYMENT,)
    return Room(traffic=Traffic(Limits()), deployments=lambda: found, loads=told, clock=clock or FakeClock())


@given(
    others=st.lists(st.integers(0, 300), max_size=4),
    mine=st.integers(0, 300),
    held=st.integers(0, 20),
    most=st.none() | st.integers(1, 400),
)
def test_a_warm_begins_only_where_everybodys_calls_leave_half_the_limit_free(
    others: list[int], mine: int, held: int, most: int | None
) -> None:
    told = Told(mine=[load(mine)], others=[load(one) for one in others])
    room = a_room(told)
    room.held["small"] = held
    busy = sum(others) + max(mine, held)
    is_free = asyncio.run(room.has_room(["small"], most=most))
    assert is_free == (2 * busy < 256 and (most is None or busy < most))


async def test_no_warm_begins_while_anybody_waits_for_a_place() -> None:
    for told in (Told(mine=[load(1, waiting=1)]), Told(others=[load(1, waiting=1)])):
        assert not await a_room(told).has_room(["small"], most=None)


async def test_what_429s_have_taught_counts_as_shares_and_who_learnt_nothing_says_nothing() -> None:
    told, clock = Told(others=[load(4, limit=10, learnt=True), load(4, limit=10, learnt=True), load(1)]), FakeClock()
    room = a_room(told, clock=clock)
    assert await room.has_room(["small"], most=None)
    told.others[2] = load(2)
    clock.wind(LOOK_S)
    assert not await room.has_room(["small"], most=None)


async def test_every_group_must_have_room_and_a_model_without_deployments_has_none() -> None:
    other = Deployment(
        id="e", group="large", provider="openai", model="m", backend="openai_wire", api_base="", secret="", price=None
    )
    told, clock = Told(), FakeClock()
    room = a_room(told, DEPLOYMENT, other, clock=clock)
    assert await room.has_room(["small", "large"], most=2)
    told.others = [load(2, name="e")]
    clock.wind(LOOK_S)
    assert not await room.has_room(["small", "large"], most=2)
    assert await room.has_room(["small"], most=2)
    assert not await room.has_room(["small", "unknown"], most=None)


async def test_without_the_store_nobody_knows_of_the_others_and_no_warm_begins() -> None:
    assert not await a_room(Told(is_away=True)).has_room(["small"], most=None)


async def test_a_call_waits_until_users_leave_room_and_holds_its_place_until_it_ends() -> None:
    told, clock = Told(others=[load(8)]), FakeClock()
    room = a_room(told, clock=clock)
    held = []

    async def call() -> None:
        async with room.place(["small"], most=8):
            held.append(room.held["small"])

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        await _turns()
        assert held == []
        told.others = [load(7)]
        clock.wind(LOOK_S)
    assert held == [1]
    assert room.held["small"] == 0


async def test_calls_of_one_run_take_no_more_places_than_there_are() -> None:
    told, clock, most_held = Told(others=[load(5)]), FakeClock(), 0
    room = a_room(told, clock=clock)
    gate = asyncio.Event()

    async def call() -> None:
        nonlocal most_held
        async with room.place(["small"], most=8):
            most_held = max(most_held, room.held["small"])
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(call())
        await _turns()
        assert clock.sleepers == 9
        assert told.looks == 1
        assert room.held["small"] == 3
        gate.set()
        while room.held["small"] or clock.sleepers:
            clock.wind(LOOK_S)
            await asyncio.sleep(0)
    assert most_held == 3


async def test_who_waits_too_long_goes_without_a_place() -> None:
    told, clock = Told(others=[load(200)]), FakeClock()
    room = a_room(told, clock=clock)

    async def call() -> None:
        with pytest.raises(NoRoom):
            async with room.place(["small"], most=None, at_most_s=1.0):
                raise AssertionError("there was no room")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(call())
        while not task.done():
            clock.wind(LOOK_S)
            await asyncio.sleep(0)
    assert clock.monotonic() >= 1.0
    assert room.held["small"] == 0


@pytest.mark.parametrize("is_in", [True, False])
async def test_a_call_that_is_cancelled_leaves_no_place_taken(is_in: bool) -> None:
    told, clock = Told(others=[] if is_in else [load(200)]), FakeClock()
    room = a_room(told, clock=clock)

    async def call() -> None:
        async with room.place(["small"], most=None):
            await clock.sleep(100)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(call())
        await _turns()
        assert room.held["small"] == is_in
        task.cancel()
    assert room.held["small"] == 0


async def _turns() -> None:
    """Let every task come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)
