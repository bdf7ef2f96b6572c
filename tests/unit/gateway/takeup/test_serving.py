"""Announced items reach the warmer once each, and what it says of them is written down."""

from __future__ import annotations

import uuid

import pytest

from gateway.announced.shelf import ENDED_LIFE_S, MAX_OPEN, Shelf
from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.takeup.serving import AGAIN_S, BEGUN_S, PATIENCE_S, SLACK_S
from tests.clock import FakeClock
from tests.unit.gateway.takeup.scripted import Bench, Lane
from warmer.results import Result
from warmer.types import Known


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
        ("off", "skipped", "off"),
        ("held_out", "skipped", "held_out"),
        ("not_worth", "skipped", "not_worth"),
        ("stopped", "skipped", "stopped"),
        ("fresh", "skipped", "fresh"),
        ("not_kept", "failed", "error"),
    ],
)
async def test_what_the_warmer_did_not_do_is_told_with_its_reason(
    bench: Bench, said: Result, state: str, result: str
) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("another", "held_out"), bench.considered("a", said)])
    await takeup.look()
    kept = await bench.found(announced)
    assert [(one.state, one.result) for one in kept.statuses] == [(state, result)]
    assert kept.statuses[0].detail
    assert kept.expires_at == pytest.approx(bench.clock.now() + ENDED_LIFE_S, abs=1)
    assert bench.script.told == [result]


async def test_what_there_is_no_room_for_has_not_ended_until_it_is_wanted(bench: Bench) -> None:
    announced, takeup = await bench.post("a", ready_by_s=100.0), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("a", "no_room")])
    await takeup.look()
    assert await bench.results(announced) == ["warming"]
    bench.clock.wind(101.0)
    await takeup.look()
    await takeup.look()
    assert await bench.results(announced) == ["too_late"]


async def test_what_there_is_no_budget_for_waits_a_while_for_some(bench: Bench) -> None:
    announced, takeup = await bench.post("a", "b"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("a", "no_budget"), bench.considered("b", "no_budget")])
    await takeup.look()
    (first, _) = (await bench.found(announced)).statuses
    assert first.state == "queued"
    assert "0.000000 USD" in first.detail
    bench.clock.wind(AGAIN_S)
    takeup.heard([bench.considered("a", "no_budget")])
    await takeup.look()
    assert bench.script.keys == ["a", "b", "b"]
    bench.script.fresh["b"] = bench.clock.now() + 1000.0
    takeup.heard([bench.considered("b", "warmed", 7)])
    bench.clock.wind(PATIENCE_S - AGAIN_S)
    await takeup.look()
    await takeup.look()
    assert await bench.results(announced) == ["over_budget", "answer"]
    assert bench.script.told == ["answer", "over_budget"]


async def test_what_its_caller_asked_first_is_fresh_and_not_failed(bench: Bench) -> None:
    announced, takeup = await bench.post("a", "b"), bench.takeup()
    await takeup.look()
    bench.script.fresh["a"] = bench.clock.now() + 1000.0
    takeup.heard([bench.considered("a", "not_asked"), bench.considered("b", "not_asked")])
    await takeup.look()
    assert await bench.results(announced) == ["fresh", "queued"]
    bench.script.fresh["b"] = bench.clock.now() + 1000.0
    bench.clock.wind(AGAIN_S)
    await takeup.look()
    await takeup.look()
    assert await bench.results(announced) == ["fresh", "fresh"]
    assert bench.script.keys == ["a", "b"]


async def test_what_was_not_asked_is_tried_again_for_a_while_before_it_has_failed(bench: Bench) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    for _ in range(int(PATIENCE_S / AGAIN_S)):
        takeup.heard([bench.considered("a", "not_asked")])
        await takeup.look()
        assert await bench.results(announced) == ["queued"]
        bench.clock.wind(AGAIN_S)
        await takeup.look()
    await takeup.look()
    assert bench.script.keys == ["a", "a"]
    assert await bench.results(announced) == ["error"]
    assert "nobody was asked" in (await bench.found(announced)).statuses[0].detail


async def test_what_the_warmer_has_just_made_is_not_called_fresh(bench: Bench) -> None:
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    bench.clock.wind(AGAIN_S)
    bench.script.fresh["a"] = bench.clock.now() + 1000.0
    await takeup.look()
    assert await bench.results(announced) == ["warming"]
    takeup.heard([bench.considered("a", "warmed", 7)])
    await takeup.look()
    assert await bench.results(announced) == ["answer"]


async def test_what_may_not_be_warmed_never_reaches_the_warmer(bench: Bench) -> None:
    bench.script.unpriced.add("dear")
    bench.script.fresh["fresh"] = bench.clock.now() + 500.0
    announced, takeup = await bench.post("tools", "dear", "fresh", "plain"), bench.takeup()
    await takeup.look()
    await takeup.look()
    assert bench.script.keys == ["plain"]
    assert await bench.results(announced) == ["not_allowed", "not_allowed", "fresh", "warming"]
    assert (await bench.found(announced)).statuses[0].detail == "it has tools"


async def test_the_next_warmer_takes_up_what_the_last_one_left(bench: Bench) -> None:
    announced, first = await bench.post("a", "b"), bench.takeup()
    await first.look()
    bench.script.fresh["a"] = bench.clock.now() + 1000.0
    second = bench.takeup()
    await second.look()
    await second.look()
    assert bench.script.keys == ["a", "b", "b"]
    assert await bench.results(announced) == ["fresh", "warming"]


async def test_what_an_earlier_warmer_had_begun_and_nobody_heard_of_again_ends_as_an_error(bench: Bench) -> None:
    announced, first = await bench.post("a", "b", ready_by_s=5000.0), bench.takeup()
    bench.clock.wind(2000.0)
    await first.look()
    second = bench.takeup()
    await second.look()
    bench.clock.wind(BEGUN_S + 1)
    second.heard([bench.considered("b", "crowded_out")])
    await second.look()
    await second.look()
    assert await bench.results(announced) == ["error", "crowded_out"]
    assert "ended meanwhile" in (await bench.found(announced)).statuses[0].detail


async def test_a_redis_that_goes_away_costs_no_word_of_the_warmer(bench: Bench) -> None:
    announced, takeup = await bench.post("a", "b"), bench.takeup()
    await takeup.look()
    bench.lane.is_away = True
    takeup.heard([bench.considered("a", "crowded_out"), bench.considered("b", "held_out")])
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await takeup.look()
    bench.lane.is_away = False
    await takeup.look()
    assert await bench.results(announced) == ["crowded_out", "held_out"]
    assert bench.script.told == ["crowded_out", "held_out"]


async def test_an_item_that_fails_lets_the_others_go_first(bench: Bench) -> None:
    bench.script.failing.add("a")
    await bench.post("a", ready_by_s=10.0)
    await bench.post("b", ready_by_s=20.0)
    takeup = bench.takeup()
    with pytest.raises(ZeroDivisionError):
        await takeup.tend(leads=True)
    await takeup.tend(leads=True)
    assert bench.script.keys == ["b"]
    await takeup.tend(leads=False)
    bench.script.failing.clear()
    await takeup.tend(leads=True)
    assert bench.script.keys == ["b", "a", "b"]


async def test_without_redis_it_waits(bench: Bench) -> None:
    await bench.post("a")
    takeup, bench.lane.is_away = bench.takeup(), True
    await takeup.tend(leads=True)
    bench.lane.is_away = False
    await takeup.tend(leads=True)
    assert bench.script.keys == ["a"]


async def test_announcements_are_kept_in_a_cluster_too(cluster_url: str) -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    store = RedisStore(cluster_url, supervisor=supervisor, timeout_s=5.0)
    clock = FakeClock(now=SystemClock().now())
    bench = Bench(
        shelf=Shelf(store, clock, due=uuid.uuid4().hex), lane=Lane(store=store), clock=clock, tenant=uuid.uuid4().hex
    )
    announced, takeup = await bench.post("a"), bench.takeup()
    await takeup.look()
    takeup.heard([bench.considered("a", "held_out")])
    await takeup.look()
    assert await bench.results(announced) == ["held_out"]
    assert await bench.shelf.first(9) == []
    await store.close()
    await supervisor.close(2.0)


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
