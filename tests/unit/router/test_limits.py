"""The concurrency limit that learns from 429s, and the queue in front of it."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from router.limits import ConcurrencyLimits, ConcurrencyRules
from router.types import Priority

SMALL = ConcurrencyRules(maximum=2, queue=2, queue_per_tenant=2)


def full(rules: ConcurrencyRules = SMALL) -> ConcurrencyLimits:
    limits = ConcurrencyLimits(rules)
    assert all(limits.take("d") for _ in range(rules.maximum))
    assert not limits.take("d")
    return limits


def test_a_429_lowers_the_limit_to_seven_tenths_of_what_was_in_flight() -> None:
    limits = ConcurrencyLimits(ConcurrencyRules())
    for _ in range(100):
        limits.take("d")
    limits.refused("d", started_s=1.0, now_s=2.0)
    assert limits.limit("d") == 70
    limits.refused("d", started_s=1.5, now_s=2.1)  # sent before the limit was lowered
    assert limits.limit("d") == 70
    limits.refused("d", started_s=2.5, now_s=3.0)
    assert limits.limit("d") == 49


def test_the_limit_never_falls_below_two() -> None:
    limits = ConcurrencyLimits(ConcurrencyRules())
    for second in range(10):
        limits.refused("d", started_s=float(second), now_s=float(second))
    assert limits.limit("d") == 2


def test_good_answers_raise_it_and_slow_ones_do_not() -> None:
    limits = ConcurrencyLimits(ConcurrencyRules())
    limits.refused("d", started_s=0.0, now_s=0.0)
    limits.take("d")
    for _ in range(10):
        limits.answered("d", first_token_s=2.1, median_s=1.0)
    assert limits.limit("d") == 2
    for _ in range(10):
        limits.take("d")
        limits.answered("d", first_token_s=2.0, median_s=1.0)
    assert limits.limit("d") == 4


@given(st.lists(st.sampled_from(["take", "release", "refused", "answered"]), max_size=200))
def test_never_more_than_the_limit_is_let_in(steps: list[str]) -> None:
    limits, inside = ConcurrencyLimits(ConcurrencyRules(maximum=8)), 0
    for second, step in enumerate(steps):
        if step == "take" and limits.take("d"):
            inside += 1
            assert inside <= limits.limit("d") <= 8
        elif step == "release" and inside:
            inside -= 1
            limits.release("d")
        elif step == "refused":
            limits.refused("d", started_s=float(second), now_s=float(second))
        elif step == "answered":
            limits.answered("d", first_token_s=1.0, median_s=None)
        assert limits.in_flight("d") == inside
        assert limits.limit("d") >= 2


async def wait(limits: ConcurrencyLimits, name: str, order: list[str], priority: Priority = "interactive") -> bool:
    is_in = await limits.wait("d", priority=priority, tenant=name, at_most_s=20.0)
    order.append(f"{name}:{is_in}")
    return is_in


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_place_goes_to_whoever_matters_most_and_then_to_the_first() -> None:
    limits = full(ConcurrencyRules(maximum=1))
    order: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        for name, priority in (("w", "warm"), ("r", "refresh"), ("i", "interactive"), ("j", "interactive")):
            tasks.create_task(wait(limits, name, order, priority))  # type: ignore[arg-type]
            await settle()
        for _ in range(4):
            limits.release("d")
            await settle()
    assert order == ["i:True", "j:True", "r:True", "w:True"]
    assert (limits.waiting("d"), limits.in_flight("d")) == (0, 1)


async def test_a_full_queue_sends_the_least_important_away_and_nobody_for_their_equal() -> None:
    limits = full()
    order: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        for name, priority in (("w", "warm"), ("r", "refresh"), ("i", "interactive"), ("x", "refresh")):
            tasks.create_task(wait(limits, name, order, priority))  # type: ignore[arg-type]
            await settle()
        assert order == ["w:False", "x:False"]
        limits.release("d")
        limits.release("d")
    assert order[2:] == ["i:True", "r:True"]


async def test_one_tenant_cannot_fill_the_queue() -> None:
    limits = full(ConcurrencyRules(maximum=2, queue=10, queue_per_tenant=1))
    order: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait(limits, "a", order))
        await settle()
        assert not await wait(limits, "a", order)
        tasks.create_task(wait(limits, "b", order))
        await settle()
        limits.release("d")
        limits.release("d")
    assert order == ["a:False", "a:True", "b:True"]


async def test_who_cannot_wait_any_longer_leaves_the_queue() -> None:
    limits = full()
    assert not await limits.wait("d", priority="interactive", tenant="t", at_most_s=0.01)
    assert not await limits.wait("d", priority="interactive", tenant="t", at_most_s=-1.0)
    assert limits.waiting("d") == 0


async def test_a_caller_cancelled_in_the_turn_that_gave_it_a_place_gives_it_back() -> None:
    limits = full()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(wait(limits, "a", []))
        await settle()
        limits.release("d")
        waiting.cancel()
    assert (limits.in_flight("d"), limits.waiting("d")) == (1, 0)
