"""What requests learn from each other: breakers, Retry-After, the retry budget, places and measured times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from policies.model import ModelCard
from router.backends.openai_wire import OpenAIWire
from router.limits import ConcurrencyRules
from router.ports import BreakerHint
from tests.provider import Reply, ScriptedProvider
from tests.unit.router.attempts_bench import CALM, FAST, Bench, answer, collect, failure
from tests.unit.router.test_breaker import Hints

DOWN = Reply(status=500)
TOO_LONG = Reply(status=400, body='{"error": {"message": "x", "code": "context_length_exceeded"}}')


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    wire = OpenAIWire()
    async with ScriptedProvider() as provider:
        yield Bench(provider, wire)
        await wire.close()


def asked(bench: Bench) -> list[str]:
    return [str(seen.json()["model"]) for seen in bench.provider.requests]


@pytest.mark.parametrize("stream", [False, True])
async def test_down_for_a_minute_and_then_healthy(bench: Bench, stream: bool) -> None:
    bench.provider.always("a1", DOWN)
    start_s = bench.clock.now_s
    while bench.clock.now_s < start_s + 60:
        finished = await collect(bench.run("a", "b", stream=stream))
        assert finished
        bench.clock.now_s += 1
    calls = asked(bench)
    assert calls.count("a1") <= 6 + 8  # until it opened, and one probe at a time
    assert calls.count("b1") >= 55
    bench.provider.always("a1", Reply())
    healthy_s = bench.clock.now_s
    while (await answer(bench.run("a", "b"))).response_model == "b1":
        bench.clock.now_s += 1
    assert bench.clock.now_s - healthy_s <= 30
    assert bench.attempts().traffic.breakers.state("a1") == "closed"


async def test_an_open_breaker_sends_requests_straight_to_the_fallback(bench: Bench) -> None:
    bench.provider.always("a1", DOWN)
    for _ in range(3):
        await answer(bench.run("a", "b"))
    before = len(bench.provider.requests)
    bench.journal.clear()
    await answer(bench.run("a", "b"))
    assert bench.tried() == [("b1", "fallback", "ok")]
    assert len(bench.provider.requests) == before + 1


async def test_the_last_candidate_is_never_ejected_but_not_hammered_either(bench: Bench) -> None:
    bench.provider.always("a1", DOWN)
    for _ in range(3):
        await failure(bench.run("a"))
    bench.journal.clear()
    failed = await failure(bench.run("a"))
    assert (failed.error.kind, bench.tried()) == ("server_error", [("a1", "first", "server_error")])
    bench.provider.always("a1", Reply())
    await answer(bench.run("a"))
    assert bench.attempts().traffic.breakers.state("a1") == "closed"


async def test_only_one_request_at_a_time_probes_and_a_cancelled_probe_frees_the_way(bench: Bench) -> None:
    bench.provider.always("a1", DOWN)
    for _ in range(3):
        await answer(bench.run("a", "b"))
    bench.clock.now_s += 3
    bench.provider.always("a1", Reply(fault="silent"))
    asked_before = asked(bench).count("a1")
    async with asyncio.TaskGroup() as tasks:
        probe = tasks.create_task(collect(bench.run("a", "b")))
        await bench.provider.wait_for_requests(len(bench.provider.requests) + 1)
        for _ in range(3):
            assert (await answer(bench.run("a", "b"))).response_model == "b1"
        assert asked(bench).count("a1") == asked_before + 1
        probe.cancel()
    bench.provider.always("a1", Reply())
    assert (await answer(bench.run("a", "b"))).response_model == "a1"


async def test_what_another_process_found_open_is_probed_by_one_request(bench: Bench) -> None:
    hints = bench.hints = Hints()
    hints.heard = [BreakerHint(deployment_id="a1", is_open=True)]
    await answer(bench.run("a", "b"))
    assert (bench.tried(), hints.published) == ([("a1", "first", "ok")], [("a1", False)])


async def test_a_retry_after_is_kept_for_the_requests_that_follow(bench: Bench) -> None:
    bench.provider.script("a1", Reply(status=429, headers={"Retry-After": "9"}))
    await answer(bench.run("a", "b"))
    await answer(bench.run("a", "b"))
    assert asked(bench) == ["a1", "b1", "b1"]
    bench.clock.now_s += 9
    assert (await answer(bench.run("a", "b"))).response_model == "a1"


async def test_with_nowhere_else_to_go_it_is_waited_for_or_passed_on(bench: Bench) -> None:
    bench.provider.script("a1", Reply(status=429, headers={"Retry-After": "20"}))
    first = await failure(bench.run("a", deadline_s=10.0))
    second = await failure(bench.run("a", deadline_s=10.0))
    assert [(e.error.status, e.error.retry_after_s) for e in (first, second)] == [(429, 20.0), (429, 20.0)]
    assert asked(bench) == ["a1"]
    await answer(bench.run("a", deadline_s=30.0))
    assert bench.clock.slept == [20.0]


async def test_the_retry_budget_bounds_what_failures_add(bench: Bench) -> None:
    for name in ("a1", "b1"):
        bench.provider.always(name, Reply(fault="reset"))
    calm = replace(CALM, breaker=replace(CALM.breaker, failures=10_000, min_calls=10_000), backoff_s=0.0)
    for _ in range(100):
        await failure(bench.run("a", "b", limits=calm))
    assert len(bench.provider.requests) <= 100 + 10 + 0.1 * 100
    assert bench.attempts(calm).traffic.budget.refused > 0


async def test_too_long_goes_to_a_larger_window_only(bench: Bench) -> None:
    card = ModelCard(
        group="a",
        providers=("scripted",),
        mode="chat",
        price=None,
        context_window=8_000,
        max_output_tokens=None,
        capabilities=frozenset(),
        is_simulated=False,
    )
    bench.table.cards = {
        "a": card,
        "b": replace(card, group="b"),
        "two": replace(card, group="two", context_window=9_000),
    }
    bench.provider.always("a1", TOO_LONG)
    await answer(bench.run("a", "b", "two"))
    assert asked(bench) == ["a1", "t1"]
    failed = await failure(bench.run("a", "b"))
    assert (failed.error.kind, failed.error.code) == ("context_length", "context_length_exceeded")
    assert asked(bench)[2:] == ["a1"]


async def test_a_silent_deployment_is_followed_by_another_of_its_group(bench: Bench) -> None:
    bench.provider.always("t1", Reply(fault="silent"))
    await answer(bench.run("two", "b", limits=FAST))
    assert bench.tried() == [("t1", "first", "timeout"), ("t2", "fallback", "ok")]


async def test_a_full_deployment_is_queued_for_and_then_left_for_the_fallback(bench: Bench) -> None:
    one = replace(CALM, concurrency=ConcurrencyRules(maximum=1, minimum=1), patience_s=0.05)
    bench.provider.always("a1", Reply(gate="g"))
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(answer(bench.run("a", "b", limits=one)))
        await bench.provider.wait_for_requests(1)
        overflow = await answer(bench.run("a", "b", limits=one))
        bench.provider.open_gate("g")
    assert (first.result().response_model, overflow.response_model) == ("a1", "b1")
    assert bench.attempts(one).traffic.places.in_flight("a1") == 0


async def test_a_queue_that_the_deadline_does_not_allow_is_an_error_with_nobody_asked(bench: Bench) -> None:
    one = replace(CALM, concurrency=ConcurrencyRules(maximum=1, minimum=1))
    bench.provider.always("a1", Reply(gate="g"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer(bench.run("a", limits=one)))
        await bench.provider.wait_for_requests(1)
        failed = await failure(bench.run("a", limits=one, deadline_s=0.02))
        assert (failed.error.kind, failed.error.source, failed.attempts) == ("overloaded", "gateway", ())
        bench.provider.open_gate("g")


async def test_every_way_out_gives_the_place_back(bench: Bench) -> None:
    bench.provider.always("a1", Reply(fault="stall"))
    bench.provider.script("b1", DOWN, Reply(fault="cut"))
    await failure(bench.run("b", "a", stream=True, limits=FAST))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(collect(bench.run("a", stream=True, limits=FAST)))
        await bench.provider.wait_for_requests(len(bench.provider.requests) + 1)
        running.cancel()
    places = bench.attempts(FAST).traffic.places
    assert [places.in_flight(name) for name in ("a1", "b1")] == [0, 0]
