"""When a late first token is raced, who wins, and what the loser costs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.model import CacheRules, Plan
from policies.rules import HedgeRules
from router.backends.openai_wire import OpenAIWire
from router.books import Hedge, hedges_of, total
from router.deadlines import Limits
from router.hedge import HedgeBudget
from router.types import Block, ChatRequest, Finished, Opened, Priority, Usage
from tests.provider import Reply, ScriptedProvider
from tests.unit.router.attempts_bench import Bench, answer, collect, failure, text_of
from tests.virtual_time import Fleet, VirtualTimeLoop

HEDGE = HedgeRules(budget_ratio=0.1)
REQUEST = ChatRequest(dialect="chat", body=b"{}", document={}, requested_model="any", stream=True, include_usage=False)
PLAN = Plan(
    policy="p",
    policy_version="v",
    route="r",
    candidates=("a",),
    deadline_s=30.0,
    max_output_tokens=None,
    assemble=False,
    cache=CacheRules(),
    reason="test",
    hedge=HEDGE,
)
INPUT_NANOUSD = 1_000  # "hi" is one token
GATED = Reply(gate="never")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Its clock does not wait: where hedging is in order, the second call is sent at once."""
    wire = OpenAIWire()
    async with ScriptedProvider() as provider:
        yield Bench(provider, wire)
        await wire.close()


async def learn(bench: Bench, *, samples: int = 200, requests: int = 100, nanousd: int = 10_000_000) -> None:
    """Let a p95 of 1 s be known for a1 and t1, and fill the budget of the route."""
    attempts, now_s = bench.attempts(), bench.clock.monotonic()
    for group in ("a", "two"):
        deployment = await bench.table.pick(group, REQUEST)
        for _ in range(samples):
            attempts.traffic.deadlines.took(REQUEST, deployment, "first_token", 1.0, now_s)
    for _ in range(requests):
        attempts.hedging.budget.request(PLAN, now_s)
    attempts.hedging.budget.spent(PLAN, nanousd, now_s)


def in_flight(bench: Bench) -> dict[str, int]:
    places = bench.attempts().traffic.places
    return {name: places.in_flight(name) for name in ("a1", "b1", "t1", "t2") if places.in_flight(name)}


async def test_the_second_call_wins_a_race_and_the_first_is_dropped_at_once_and_booked(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("t1", GATED)
    events = await collect(bench.run("two", "b", stream=True, hedge=HEDGE))
    await bench.provider.wait_for_hang_up(0)
    assert bench.clock.slept == [1.0]
    assert bench.tried() == [("t1", "first", "cancelled"), ("t2", "hedge", "ok")]
    opened, finished = events[0], events[-1]
    assert isinstance(opened, Opened)
    assert isinstance(finished, Finished)
    assert (opened.deployment.id, finished.deployment.id) == ("t2", "t2")
    assert text_of(events) == "Hello there, bot."
    lost = bench.journal[0]
    assert (lost.usage, lost.cost_nanousd) == (Usage(input_tokens=1, is_estimated=True), INPUT_NANOUSD)
    assert finished.cost_nanousd == INPUT_NANOUSD + 11 * 1_000 + 4 * 2_000
    assert hedges_of(finished.attempts) == (Hedge(has_won=True, wasted_nanousd=INPUT_NANOUSD),)
    assert bench.table.reports == [("t2", "ok")]
    assert in_flight(bench) == {}


async def test_the_first_call_wins_a_race_and_the_second_is_dropped_at_once_and_booked(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("t1", Reply(gate="late"))
    bench.provider.script("t2", GATED)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(answer(bench.run("two", stream=True, hedge=HEDGE)))
        await bench.provider.wait_for_requests(2)
        bench.provider.open_gate("late")
    index = [b"t2" in seen.body for seen in bench.provider.requests].index(True)
    await bench.provider.wait_for_hang_up(index)
    assert bench.tried() == [("t2", "hedge", "cancelled"), ("t1", "first", "ok")]
    assert asking.result().cost_nanousd == INPUT_NANOUSD + 11 * 1_000 + 4 * 2_000
    assert hedges_of(bench.journal) == (Hedge(has_won=False, wasted_nanousd=INPUT_NANOUSD),)
    assert in_flight(bench) == {}


async def test_without_another_deployment_the_next_model_of_the_plan_is_asked(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("a1", GATED)
    await answer(bench.run("a", "b", stream=True, hedge=HEDGE))
    assert bench.tried() == [("a1", "first", "cancelled"), ("b1", "hedge", "ok")]


async def test_an_assembled_answer_is_hedged_too(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("a1", GATED)
    await answer(bench.run("a", "b", assemble=True, on_cut="hold", hedge=HEDGE))
    assert bench.tried() == [("a1", "first", "cancelled"), ("b1", "hedge", "ok")]


async def test_the_second_call_saves_a_first_that_fails_meanwhile(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("a1", Reply(status=503, gate="late"))
    bench.provider.script("b1", Reply(gate="later"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(collect(bench.run("a", "b", stream=True, hedge=HEDGE)))
        await bench.provider.wait_for_requests(2)
        bench.provider.open_gate("late")
        while not bench.journal:  # noqa: ASYNC110 - until the failure has been written down
            await asyncio.sleep(0)
        bench.provider.open_gate("later")
    assert bench.tried() == [("a1", "first", "overloaded"), ("b1", "hedge", "ok")]
    assert bench.table.reports == [("a1", "overloaded"), ("b1", "ok")]


async def test_what_is_refused_outright_does_not_wait_for_the_second_call(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("a1", Reply(status=400, body='{"error": {"message": "x"}}', gate="late"))
    bench.provider.script("b1", GATED)
    async with asyncio.TaskGroup() as tasks:
        failing = tasks.create_task(failure(bench.run("a", "b", stream=True, hedge=HEDGE)))
        await bench.provider.wait_for_requests(2)
        bench.provider.open_gate("late")
    assert failing.result().error.kind == "bad_request"
    assert bench.tried() == [("a1", "first", "bad_request"), ("b1", "hedge", "cancelled")]
    assert in_flight(bench) == {}


async def test_where_both_fail_the_plan_goes_on_after_the_later_one(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("a1", Reply(status=401, gate="late"))
    bench.provider.script("b1", Reply(status=401))
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(answer(bench.run("a", "b", "two", stream=True, hedge=HEDGE)))
        while not bench.journal:  # noqa: ASYNC110 - until the second call has failed
            await asyncio.sleep(0)
        bench.provider.open_gate("late")
    assert bench.tried() == [("b1", "hedge", "auth"), ("a1", "first", "auth"), ("t1", "fallback", "ok")]
    assert asking.result().deployment.id == "t1"


async def test_cancelling_a_race_drops_both_calls_and_their_places(bench: Bench) -> None:
    await learn(bench)
    bench.provider.always("*", GATED)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(collect(bench.run("a", "b", stream=True, hedge=HEDGE)))
        await bench.provider.wait_for_requests(2)
        assert in_flight(bench) == {"a1": 1, "b1": 1}
        asking.cancel()
    for index in (0, 1):
        await bench.provider.wait_for_hang_up(index)
    assert sorted(bench.tried()) == [("a1", "first", "cancelled"), ("b1", "hedge", "cancelled")]
    assert in_flight(bench) == {}
    assert [task for task in asyncio.all_tasks() if "Race" in repr(task)] == []


@pytest.mark.parametrize("is_first_late", [True, False])
async def test_leaving_a_stream_that_was_raced_for_books_both_legs(bench: Bench, is_first_late: bool) -> None:
    await learn(bench)
    winner = Reply(words=("word " * 40,) * 6, gate="more", gate_at=3)
    bench.provider.script("t1", GATED if is_first_late else replace(winner, delay_s=0.05))
    bench.provider.script("t2", winner if is_first_late else GATED)
    async with aclosing(bench.run("two", stream=True, hedge=HEDGE)) as events:
        async for event in events:
            if isinstance(event, Block):
                break
    loser, left = bench.journal
    assert (loser.result, left.result) == ("cancelled", "cancelled")
    assert loser.usage == Usage(input_tokens=1, is_estimated=True)
    assert loser.cost_nanousd == INPUT_NANOUSD
    assert left.usage is not None
    assert left.usage.output_tokens > 0
    assert total(bench.journal)[1] == (left.cost_nanousd or 0) + INPUT_NANOUSD
    assert hedges_of(bench.journal) == (Hedge(has_won=is_first_late, wasted_nanousd=INPUT_NANOUSD),)
    assert in_flight(bench) == {}


async def unhedged(bench: Bench, *groups: str, stream: bool = True, priority: Priority = "interactive") -> None:
    """Run with a first call that waits for the second, if there is one; there must be none."""
    bench.provider.always("*", Reply())
    await answer(bench.run(*groups, hedge=HEDGE, priority=priority, stream=stream))
    assert [record.reason for record in bench.journal] == ["first"]
    assert len(bench.provider.requests) == 1


async def test_what_the_next_tests_rule_out_does_happen_otherwise(bench: Bench) -> None:
    await learn(bench, requests=9, nanousd=10_000)
    await answer(bench.run("a", "b", stream=True, hedge=HEDGE))
    assert "hedge" in [record.reason for record in bench.journal]


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"samples": 199}, id="too few samples"),
        pytest.param({"requests": 8}, id="too few requests for one hedge"),
        pytest.param({"nanousd": 9_999}, id="too little spent"),
    ],
)
async def test_without_enough_to_go_by_there_is_no_hedge(bench: Bench, known: dict[str, int]) -> None:
    await learn(bench, **known)
    await unhedged(bench, "a", "b")


async def test_nobody_is_hedged_without_another_deployment(bench: Bench) -> None:
    await learn(bench)
    await unhedged(bench, "a", "a")


async def test_a_whole_answer_has_no_first_token_and_is_not_hedged(bench: Bench) -> None:
    await learn(bench)
    await unhedged(bench, "a", "b", stream=False)


async def test_a_warm_request_is_not_hedged(bench: Bench) -> None:
    await learn(bench)
    await unhedged(bench, "a", "b", priority="warm")


@pytest.mark.parametrize("name", ["a1", "b1"])
async def test_a_busy_deployment_takes_no_part_in_a_hedge(bench: Bench, name: str) -> None:
    await learn(bench)
    places = bench.attempts().traffic.places
    while places.in_flight(name) <= 0.7 * places.limit(name):
        assert places.take(name)
    await unhedged(bench, "a", "b")


@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_failing_deployment_takes_no_part_in_a_hedge(bench: Bench, name: str) -> None:
    await learn(bench)
    traffic, now_s = bench.attempts().traffic, bench.clock.monotonic()
    deployment = await bench.table.pick(name, REQUEST)
    traffic.breakers.failed(deployment.id, now_s, "overloaded")
    for _ in range(18):  # 1 of 19
        traffic.breakers.succeeded(deployment.id, now_s)
    await unhedged(bench, "a", "b")


async def test_a_hedge_draws_on_the_budget_of_retries(bench: Bench) -> None:
    await learn(bench)
    budget, now_s = bench.attempts().traffic.budget, bench.clock.monotonic()
    while budget.take(now_s):
        pass
    # The clock moves on by the wait of a second, which frees nothing within the budget's ten.
    await unhedged(bench, "a", "b")


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["request", "spent", "hedge", "hedge"]), st.integers(0, 50)), max_size=300
    ),
    ratio=st.sampled_from([0.01, 0.02, 0.1]),
)
def test_hedges_are_never_more_than_their_share_of_requests_and_of_spend(
    steps: list[tuple[str, int]], ratio: float
) -> None:
    rules = HedgeRules(budget_ratio=ratio)
    plan = Plan(
        policy="p",
        policy_version="v",
        route="r",
        candidates=("a",),
        deadline_s=1.0,
        max_output_tokens=None,
        assemble=False,
        cache=CacheRules(),
        reason="",
        hedge=rules,
    )
    budget = HedgeBudget(seconds=600)
    requests = spent = hedges = wasted = 0
    for step, amount in steps:
        if step == "request":
            for _ in range(amount):
                budget.request(plan, 1.0)
            requests += amount
        elif step == "spent":
            budget.spent(plan, amount * 100, 1.0)
            spent += amount * 100
        elif budget.allows(plan, amount, 1.0):
            budget.take(plan, amount, 1.0)
            hedges, wasted = hedges + 1, wasted + amount
        assert hedges <= ratio * requests
        assert wasted <= ratio * spent


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32),
    sigma=st.sampled_from([0.4, 1.0]),
    ratio=st.sampled_from([0.02, 0.1]),
    most=st.integers(1, 3),
)
def test_of_many_requests_no_hedge_repeats_a_deployment_or_comes_after_the_first_token(
    seed: int, sigma: float, ratio: float, most: int
) -> None:
    rng = random.Random(seed)
    rules = HedgeRules(max=most, budget_ratio=ratio)
    fleet = Fleet(lambda: 0.6 * rng.lognormvariate(0, sigma), hedge=rules, limits=Limits(), seed=seed)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(fleet.ask_many(600, "two", "next", per_s=20, rng=rng))
    assert len(fleet.journals) == 600
    hedged = [journal for journal in fleet.journals if any(record.reason == "hedge" for record in journal)]
    assert 0 < len(hedged) <= ratio * 600
    for journal in hedged:
        assert len({record.deployment_id for record in journal}) == len(journal)
        hedge = next(record for record in journal if record.reason == "hedge")
        other = next(record for record in journal if record is not hedge)
        assert other.started_s < hedge.started_s < other.ended_s
    wasted = sum(hedge.wasted_nanousd or 0 for journal in hedged for hedge in hedges_of(journal))
    assert wasted <= ratio * fleet.cost_nanousd
    places = fleet.attempts.traffic.places
    assert [places.in_flight(name) for name in ("t1", "t2", "n1")] == [0, 0, 0]
    assert fleet.backend.open == 0


async def test_a_stream_that_has_begun_is_not_hedged(bench: Bench) -> None:
    await learn(bench)
    bench.provider.script("a1", Reply(gate="rest", gate_at=2))
    hedge = HedgeRules(max=3, budget_ratio=0.1)
    async with aclosing(bench.run("a", "b", stream=True, hedge=hedge)) as events:
        opened = await anext(events)
        assert isinstance(opened, Opened)
        first = opened.deployment.id
        before = len(bench.provider.requests)
        bench.provider.open_gate("rest")
        async for _ in events:
            pass
    assert len(bench.provider.requests) == before
    assert bench.journal[-1].deployment_id == first
