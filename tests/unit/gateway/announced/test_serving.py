"""Announced items are warmed once each, the earliest due first, whoever dies or goes away meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.announced.records import Announcement, Item, ItemResult, ItemStatus, Kept, announcement_id, ended
from gateway.announced.serving import AT_ONCE, serve_announcements
from gateway.announced.shelf import ENDED_LIFE_S, MAX_OPEN, Shelf
from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.waiting import Command


@dataclass(slots=True, kw_only=True)
class Scripted:
    """A Warms that writes down what it was given; `hold` keeps it from answering."""

    asked: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    good_for_s: float = 1000.0

    async def warm(self, announcement: Announcement, item: Item) -> ItemStatus:
        self.asked.append(item.body.decode())
        if self.hold is not None:
            await self.hold.wait()
        good = SystemClock().now() + self.good_for_s
        return ended("answer", cost_nanousd=7, key="k", good_until=good)

    async def find(self, announcement: Announcement, item: Item) -> ItemStatus:
        self.found.append(item.body.decode())
        return ended("interrupted", "it was begun")


@dataclass(slots=True, kw_only=True)
class Lane:
    """A Redis that can be switched off."""

    store: RedisStore
    is_away: bool = False

    async def run(self, *commands: Command) -> list[object]:
        if self.is_away:
            raise StoreUnavailable("away")
        return await self.store.run(*commands)


@dataclass(slots=True, kw_only=True)
class Bench:
    shelf: Shelf
    lane: Lane
    tenant: str
    told: list[ItemResult] = field(default_factory=list)

    def announcement(self, *bodies: str, ready_by_s: float | None = None, name: str | None = None) -> Announcement:
        now = SystemClock().now()
        content = name or ",".join(bodies)
        return Announcement(
            id=announcement_id(self.tenant, content),
            tenant=self.tenant,
            key_id="key-1",
            allowed_models=None,
            session="",
            tags=frozenset({"task=x"}),
            level="answer",
            created_at=now,
            ready_by=None if ready_by_s is None else now + ready_by_s,
            content=content,
            count=len(bodies),
            items=tuple(Item(body=body.encode()) for body in bodies),
        )

    async def found(self, announcement: Announcement) -> Kept:
        kept = await self.shelf.find(self.tenant, announcement.id)
        assert kept is not None
        return kept

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await holds():
                await SystemClock().sleep(0.005)

    async def until_ended(self, announcement: Announcement) -> Kept:
        async def has_ended() -> bool:
            kept = await self.found(announcement)
            return kept.has_ended and not kept.announcement.items

        await self.until(has_ended)
        return await self.found(announcement)

    @asynccontextmanager
    async def serving(self, warms: Scripted) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = serve_announcements(self.shelf, warms, clock=SystemClock(), tell=self.told.append, idle_s=0.005)
            task = group.create_task(serving)
            yield
            task.cancel()


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    def report_crash(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    lane = Lane(store=store)
    name = uuid.uuid4().hex
    yield Bench(shelf=Shelf(lane, SystemClock(), due=f"test:due:{name}"), lane=lane, tenant=f"t {name}")
    await store.close()
    await supervisor.close(2.0)


async def test_every_item_is_warmed_once_and_the_texts_are_dropped_then(bench: Bench) -> None:
    announced, warms = bench.announcement("a", "b", "c"), Scripted()
    assert await bench.shelf.post(announced) == "new"
    kept = await bench.found(announced)
    assert kept.announcement == announced
    async with bench.serving(warms):
        kept = await bench.until_ended(announced)
    assert sorted(warms.asked) == ["a", "b", "c"]
    assert [status.state for status in kept.statuses] == ["ready"] * 3
    assert bench.told == ["answer"] * 3
    assert kept.expires_at == pytest.approx(SystemClock().now() + 1000, abs=30)
    assert await bench.shelf.first(10) == []
    assert await bench.shelf.post(announced) == "known"


async def test_the_earliest_due_is_asked_first_whoever_came_first(bench: Bench) -> None:
    for body, ready_by_s in (("unsaid", None), ("later", 200.0), ("soon", 20.0), ("soonest", 10.0)):
        await bench.shelf.post(bench.announcement(body, ready_by_s=ready_by_s))
    warms = Scripted()
    async with bench.serving(warms):
        await bench.until(lambda: _is(len(warms.asked) == 4))
    assert warms.asked == ["soonest", "soon", "later", "unsaid"]


async def test_what_is_wanted_earlier_after_all_moves_forward(bench: Bench) -> None:
    first = bench.announcement("a", ready_by_s=500.0)
    await bench.shelf.post(first)
    await bench.shelf.post(bench.announcement("b", ready_by_s=100.0))
    await bench.shelf.queue_again(bench.announcement("a", ready_by_s=50.0))
    await bench.shelf.queue_again(bench.announcement("b", ready_by_s=900.0))
    assert [name for _, name, _ in await bench.shelf.first(9)] == [first.id, bench.announcement("b").id]


async def test_what_is_too_late_is_not_asked(bench: Bench) -> None:
    announced, warms = bench.announcement("a", ready_by_s=-1.0), Scripted()
    await bench.shelf.post(announced)
    async with bench.serving(warms):
        kept = await bench.until_ended(announced)
    assert warms.asked == []
    assert [(status.state, status.result) for status in kept.statuses] == [("skipped", "too_late")]
    assert kept.expires_at == pytest.approx(SystemClock().now() + ENDED_LIFE_S, abs=30)


async def test_so_many_are_asked_at_once_and_no_more(bench: Bench) -> None:
    announced, warms = bench.announcement(*"abcdefgh"), Scripted(hold=asyncio.Event())
    await bench.shelf.post(announced)
    async with bench.serving(warms):
        await bench.until(lambda: _is(len(warms.asked) == AT_ONCE))
        kept = await bench.found(announced)
        assert [status.state for status in kept.statuses] == ["warming"] * AT_ONCE + ["queued"] * 4
        assert len(warms.asked) == AT_ONCE
        assert warms.hold is not None
        warms.hold.set()
        await bench.until_ended(announced)
    assert sorted(warms.asked) == list("abcdefgh")


async def test_what_was_being_asked_when_the_warmer_died_is_looked_for_and_not_asked_again(bench: Bench) -> None:
    announced, first = bench.announcement(*"abcdef"), Scripted(hold=asyncio.Event())
    await bench.shelf.post(announced)
    async with bench.serving(first):
        await bench.until(lambda: _is(len(first.asked) == AT_ONCE))
    second = Scripted()
    async with bench.serving(second):
        kept = await bench.until_ended(announced)
    assert sorted(second.found) == sorted(first.asked)
    assert sorted(first.asked + second.asked) == list("abcdef")
    assert sorted(status.result for status in kept.statuses) == ["answer"] * 2 + ["interrupted"] * 4


async def test_a_redis_that_goes_away_costs_no_result_and_no_second_call(bench: Bench) -> None:
    announced, warms = bench.announcement("a", "b"), Scripted(hold=asyncio.Event())
    await bench.shelf.post(announced)
    async with bench.serving(warms):
        await bench.until(lambda: _is(len(warms.asked) == 2))
        bench.lane.is_away = True
        assert warms.hold is not None
        warms.hold.set()
        await bench.until(lambda: _is(len(bench.told) == 2))
        bench.lane.is_away = False
        kept = await bench.until_ended(announced)
    assert [status.result for status in kept.statuses] == ["answer"] * 2
    assert len(warms.asked) == 2


async def test_a_tenant_has_so_many_open_and_an_ended_one_makes_room(bench: Bench) -> None:
    for number in range(MAX_OPEN):
        assert await bench.shelf.post(bench.announcement(str(number))) == "new"
    more = bench.announcement("more")
    assert await bench.shelf.post(more) == "full"
    assert await bench.shelf.find(bench.tenant, more.id) is None
    await bench.shelf.end(bench.tenant, bench.announcement("0").id, ())
    assert await bench.shelf.post(more) == "new"


async def test_one_that_is_over_leaves_the_queue(bench: Bench) -> None:
    announced = bench.announcement("a")
    await bench.shelf.post(announced)
    await bench.lane.run(("UNLINK", f"foreword:announced:{{{bench.tenant}}}:{announced.id}"))
    warms = Scripted()

    async def is_empty() -> bool:
        return await bench.shelf.first(9) == []

    async with bench.serving(warms):
        await bench.until(is_empty)
    assert warms.asked == []


async def _is(holds: bool) -> bool:
    return holds
