"""Announced items reach the warmer once each, the earliest due first, and what it says of them is written down."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gateway.announced.records import Announcement, Item, ItemResult, Kept, announcement_id
from gateway.announced.shelf import ENDED_LIFE_S, LIFE_S, MAX_OPEN, Shelf
from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.retained.kept import Kept as KeptRequest
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.takeup.preparing import Prepared
from gateway.takeup.serving import AGAIN_S, AT_ONCE, SILENT_S, SLACK_S, Takeup, TakeupPorts
from gateway.takeup.sketching import NotAllowed
from gateway.waiting import Command
from tests.clock import FakeClock
from warmer.results import Considered, Result
from warmer.types import Announcement as Prediction
from warmer.types import Known, Quote


def quote(key: str, fresh_until_s: float) -> Quote:
    return Quote(
        key=key,
        live_nanousd=100,
        warm_nanousd=50,
        bound_nanousd=200,
        wait_s=1.0,
        ttl_s=3600.0,
        fresh_until_s=fresh_until_s,
        prefix_ttl_s=300.0,
    )


@dataclass(slots=True, kw_only=True)
class Script:
    """Everything that items go through, written down; a key is its item's body here."""

    announced: list[Prediction] = field(default_factory=list)
    kept: list[tuple[str, float]] = field(default_factory=list)
    fresh: dict[str, float] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)
    told: list[ItemResult] = field(default_factory=list)
    has_room: bool = True
    cheap_s: float | None = None

    async def prepare(self, announcement: Announcement, item: Item) -> Prepared:
        body = item.body.decode()
        if body.startswith("tools"):
            raise NotAllowed("it has tools")
        kept = KeptRequest(
            kind="chat",
            body=item.body,
            dialect="chat",
            tenant=announcement.tenant,
            key_id=announcement.key_id,
            allowed_models=None,
            session="",
            tags=(),
            namespace="",
            parts=(),
            wait_s=0.0,
            ttl_s=0.0,
            cost_nanousd=0,
        )
        return Prepared(key=body, kept=kept, cheap_s=self.cheap_s)

    async def keep(self, prepared: Prepared, *, ttl_s: float) -> None:
        self.kept.append((prepared.key, ttl_s))

    async def quote(self, tenant: str, recipe: Known) -> Quote | None:
        if recipe.key in self.unpriced:
            return None
        return quote(recipe.key, self.fresh.get(recipe.key, 0.0))

    def announce(self, prediction: Prediction) -> bool:
        if self.has_room:
            self.announced.append(prediction)
        return self.has_room

    @property
    def keys(self) -> list[str]:
        return [one.recipe.key for one in self.announced if isinstance(one.recipe, Known)]


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
    clock: FakeClock
    tenant: str
    script: Script = field(default_factory=Script)

    def announcement(self, *bodies: str, ready_by_s: float | None = None) -> Announcement:
        now, content = self.clock.now(), ",".join(bodies)
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

    async def post(self, *bodies: str, ready_by_s: float | None = None) -> Announcement:
        announced = self.announcement(*bodies, ready_by_s=ready_by_s)
        assert await self.shelf.post(announced) == "new"
        return announced

    async def found(self, announcement: Announcement) -> Kept:
        kept = await self.shelf.find(self.tenant, announcement.id)
        assert kept is not None
        return kept

    async def results(self, announcement: Announcement) -> list[str]:
        return [status.result or status.state for status in (await self.found(announcement)).statuses]

    def takeup(self) -> Takeup:
        script = self.script
        ports = TakeupPorts(
            prepares=script, keeps=script, quotes=script, announce=script.announce, tell=script.told.append
        )
        return Takeup(self.shelf, ports, clock=self.clock)

    def considered(self, key: str, result: Result, cost_nanousd: int = 0) -> Considered:
        return Considered(
            tenant=self.tenant,
            recipe=Known(key=key),
            predictor="announced",
            level="answer",
            result=result,
            probability=0.9,
            key=key,
            cost_nanousd=cost_nanousd,
        )


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    def report_crash(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    lane, name = Lane(store=store), uuid.uuid4().hex
    # Redis has a clock of its own, so this one must not be far from it.
    clock = FakeClock(now=SystemClock().now())
    yield Bench(shelf=Shelf(lane, clock, due=f"test:due:{name}"), lane=lane, clock=clock, tenant=f"t {name}")
    await store.close()
    await supervisor.close(2.0)


async def test_an_item_is_kept_announced_and_ready_when_the_warmer_says_so(bench: Bench) -> None:
    announced, takeup, script = await bench.post("a", ready_by_s=100.0), bench.takeup(), bench.script
    assert (await bench.found(announced)).announcement == announced
    await takeup.look()
    await takeup.look()
    (prediction,) = script.announced
    assert prediction.recipe == Known(key="a")
    assert prediction.due_at_s == announced.ready_by
    assert prediction.until_s == prediction.due_at_s + SLACK_S
    ((key, ttl_s),) = script.kept
    assert key == "a"
    assert ttl_s == pytest.approx(100.0 + SLACK_S)
    assert await bench.results(announced) == ["warming"]
    script.fresh["a"] = bench.clock.now() + 2000.0
    takeup.heard([bench.considered("a", "warmed", 7)])
    await takeup.look()
    kept = await bench.found(announced)
    (status,) = kept.statuses
    assert (status.state, status.result, status.cost_nanousd, status.key) == ("ready", "answer", 7, "a")
    assert kept.expires_at == pytest.approx(bench.clock.now() + 2000.0, abs=1)
    assert kept.announcement.items == ()
    assert script.told == ["answer"]
    assert await bench.shelf.first(9) == []
    assert await bench.shelf.post(announced) == "known"


async def test_what_was_warmed_without_an_answer_is_a_prefix(bench: Bench) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("a", "warmed", 1)])
    await takeup.look()
    (status,) = (await bench.found(announced)).statuses
    assert (status.state, status.result) == ("ready", "prefix")
    assert status.good_until == pytest.approx(bench.clock.now() + 300.0)


@pytest.mark.parametrize(
    ("said", "state", "result"),
    [
        ("no_budget", "skipped", "over_budget"),
        ("off", "skipped", "off"),
        ("held_out", "skipped", "held_out"),
        ("not_worth", "skipped", "not_worth"),
        ("stopped", "skipped", "stopped"),
        ("fresh", "skipped", "fresh"),
        ("not_asked", "failed", "error"),
        ("not_kept", "failed", "error"),
    ],
)
async def test_what_the_warmer_did_not_do_is_told_with_its_reason(
    bench: Bench, said: Result, state: str, result: str
) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("another", "no_budget"), bench.considered("a", said)])
    await takeup.look()
    kept = await bench.found(announced)
    assert [(one.state, one.result) for one in kept.statuses] == [(state, result)]
    assert kept.statuses[0].detail
    assert kept.expires_at == pytest.approx(bench.clock.now() + ENDED_LIFE_S, abs=1)
    assert bench.script.told == [result]


async def test_what_may_not_be_warmed_never_reaches_the_warmer(bench: Bench) -> None:
    bench.script.unpriced.add("dear")
    bench.script.fresh["fresh"] = bench.clock.now() + 500.0
    announced, takeup = await bench.post("tools", "dear", "fresh", "plain"), bench.takeup()
    await takeup.look()
    await takeup.look()
    assert bench.script.keys == ["plain"]
    assert await bench.results(announced) == ["not_allowed", "not_allowed", "fresh", "warming"]
    assert (await bench.found(announced)).statuses[0].detail == "it has tools"


async def test_what_is_fresh_now_and_not_when_it_is_wanted_is_taken_up_once_it_is_not(bench: Bench) -> None:
    bench.script.fresh["a"] = bench.clock.now() + 50.0
    announced, takeup = await bench.post("a", ready_by_s=100.0), bench.takeup()
    await takeup.look()
    assert bench.script.keys == []
    assert await bench.results(announced) == ["queued"]
    bench.clock.wind(51.0)
    bench.script.fresh.clear()
    await takeup.look()
    assert bench.script.keys == ["a"]


async def test_what_would_be_stale_when_it_is_wanted_is_not_made_yet(bench: Bench) -> None:
    await bench.post("a", ready_by_s=5000.0)
    takeup = bench.takeup()
    await takeup.look()
    assert bench.script.keys == []
    bench.clock.wind(5000.0 - 0.9 * 3600.0)
    await takeup.look()
    assert bench.script.keys == ["a"]


async def test_who_cannot_wait_for_the_cheap_tier_is_in_a_hurry(bench: Bench) -> None:
    bench.script.cheap_s = 20.0
    await bench.post("soon", ready_by_s=29.0)
    await bench.post("later", "late", ready_by_s=31.0)
    await bench.post("unsaid")
    takeup = bench.takeup()
    await takeup.look()
    hurried = [key for key in ("soon", "later", "late", "unsaid") if takeup.is_hurried(bench.tenant, key)]
    assert hurried == ["soon"]
    assert not takeup.is_hurried("another", "soon")
    bench.clock.wind(2.0)
    takeup.heard([bench.considered("late", "no_budget")])
    await takeup.look()
    assert takeup.is_hurried(bench.tenant, "later")
    assert not takeup.is_hurried(bench.tenant, "late")


async def test_a_warmer_that_began_anew_is_told_again(bench: Bench) -> None:
    await bench.post("a")
    takeup = bench.takeup()
    await takeup.look()
    bench.clock.wind(AGAIN_S - 1)
    await takeup.look()
    assert bench.script.keys == ["a"]
    bench.clock.wind(1.0)
    await takeup.look()
    assert bench.script.keys == ["a", "a"]


async def test_who_does_not_lead_lets_go_of_everything(bench: Bench) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("a", "no_budget")])
    takeup.forget()
    assert not takeup.is_hurried(bench.tenant, "a")
    await takeup.look()
    assert bench.script.keys == ["a", "a"]
    assert await bench.results(announced) == ["warming"]


async def test_the_earliest_due_goes_first_whoever_came_first(bench: Bench) -> None:
    for body, ready_by_s in (("unsaid", None), ("later", 400.0), ("soon", 20.0), ("soonest", 10.0)):
        await bench.post(body, ready_by_s=ready_by_s)
    await bench.takeup().look()
    assert bench.script.keys == ["soonest", "soon", "unsaid", "later"]


async def test_the_warmer_has_so_many_at_once_and_its_silence_makes_room(bench: Bench) -> None:
    announced, takeup = await bench.post(*"abcdefghij"), bench.takeup()
    await takeup.look()
    await takeup.look()
    assert bench.script.keys == list("abcdefghij")[:AT_ONCE]
    takeup.heard([bench.considered("b", "no_budget")])
    await takeup.look()
    assert len(bench.script.keys) == AT_ONCE + 1
    bench.clock.wind(SILENT_S + 1)
    await takeup.look()
    assert bench.script.keys == list("abcdefghi")
    assert (await bench.results(announced))[1] == "over_budget"


async def test_a_warmer_without_room_is_asked_again(bench: Bench) -> None:
    bench.script.has_room = False
    await bench.post("a")
    takeup = bench.takeup()
    await takeup.look()
    bench.script.has_room = True
    await takeup.look()
    await takeup.look()
    assert bench.script.keys == ["a"]


async def test_what_is_wanted_earlier_after_all_moves_forward(bench: Bench) -> None:
    first = await bench.post("a", ready_by_s=500.0)
    second = await bench.post("b", ready_by_s=100.0)
    await bench.shelf.queue_again(bench.announcement("a", ready_by_s=50.0))
    await bench.shelf.queue_again(bench.announcement("b", ready_by_s=900.0))
    assert [name for _, name, _ in await bench.shelf.first(9)] == [first.id, second.id]


async def test_what_nothing_came_of_in_time_is_too_late_unless_the_cache_has_it(bench: Bench) -> None:
    announced, takeup = await bench.post("a", "b", ready_by_s=30.0), bench.takeup()
    await takeup.look()
    bench.clock.wind(31.0)
    bench.script.fresh["b"] = bench.clock.now() + 100.0
    await takeup.look()
    await takeup.look()
    assert await bench.results(announced) == ["too_late", "fresh"]
    unsaid = await bench.post("c")
    await takeup.look()
    bench.clock.wind(LIFE_S)
    await takeup.look()
    await takeup.look()
    assert await bench.results(unsaid) == ["too_late"]


async def test_the_next_warmer_takes_up_what_the_last_one_left(bench: Bench) -> None:
    announced, first = await bench.post("a", "b"), bench.takeup()
    await first.look()
    bench.script.fresh["a"] = bench.clock.now() + 1000.0
    second = bench.takeup()
    await second.look()
    await second.look()
    assert bench.script.keys == ["a", "b", "b"]
    assert await bench.results(announced) == ["fresh", "warming"]


async def test_a_redis_that_goes_away_costs_no_word_of_the_warmer(bench: Bench) -> None:
    announced, takeup = await bench.post("a", "b"), bench.takeup()
    await takeup.look()
    bench.lane.is_away = True
    takeup.heard([bench.considered("a", "no_budget"), bench.considered("b", "held_out")])
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await takeup.look()
    bench.lane.is_away = False
    await takeup.look()
    assert await bench.results(announced) == ["over_budget", "held_out"]
    assert bench.script.told == ["over_budget", "held_out"]


async def test_a_tenant_has_so_many_open_and_an_ended_one_makes_room(bench: Bench) -> None:
    for number in range(MAX_OPEN):
        await bench.post(str(number))
    more = bench.announcement("more")
    assert await bench.shelf.post(more) == "full"
    assert await bench.shelf.find(bench.tenant, more.id) is None
    await bench.shelf.end(bench.tenant, bench.announcement("0").id, ())
    assert await bench.shelf.post(more) == "new"


async def test_one_that_is_over_leaves_the_queue(bench: Bench) -> None:
    announced = await bench.post("a")
    await bench.lane.run(("UNLINK", f"foreword:announced:{{{bench.tenant}}}:{announced.id}"))
    await bench.takeup().look()
    assert bench.script.keys == []
    assert await bench.shelf.first(9) == []
