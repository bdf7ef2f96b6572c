"""The step as a whole: what is asked, in which order, within which money, and what survives a crash."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.warmer.warmer_bench import LIVE, START_S, TTL_S, Memory, Says, Shop, event, warmer_of
from warmer.choosing import is_held_out
from warmer.ports import HistoryUnavailable
from warmer.predictors import PREDICTORS
from warmer.results import Stepped
from warmer.types import Announcement, Crowded, Known, Level, PredictorName, Recipe, Warmed
from warmer.warmer import Warmer

MINUTE_S = 60.0


def announced(key: str, *, at_s: float = START_S) -> Announcement:
    return Announcement(tenant="acme", recipe=Known(key=key), due_at_s=at_s + 60, until_s=at_s + 900)


def results(stepped: Stepped) -> dict[str, str]:
    return {one.key: one.result for one in stepped.considered}


async def trusted(shop: Shop, memory: Memory, chances: Mapping[str, float], *, n: int = 8) -> tuple[Warmer[int], float]:
    """Return a warmer whose `follow_up` says `chances`, and was right so often that it may spend."""
    warmer = warmer_of(shop, memory, {"follow_up": lambda tenant: Says(chances)})
    now_s = START_S
    for number in range(n):
        shop.request("other", now_s)
        await warmer.step(now_s + 1)
        for key in chances:
            shop.request(key, now_s + 2 * MINUTE_S)
        now_s += 2 * TTL_S + number
    await warmer.step(now_s)
    shop.asked.clear()
    return warmer, now_s


async def test_what_is_announced_is_warmed_at_once_and_only_once() -> None:
    shop, memory = Shop(), Memory()
    warmer = warmer_of(shop, memory, {})
    assert warmer.announce(announced("a"))
    assert warmer.announce(announced("a"))
    assert results(await warmer.step(START_S)) == {"a": "warmed"}
    assert results(await warmer.step(START_S + 1)) == {}
    assert shop.asked == [("acme", "a")]


async def test_what_is_long_overdue_is_not_worth_it_any_more_and_what_has_come_is_forgotten() -> None:
    shop = Shop()
    shop.is_on = False
    warmer = warmer_of(shop, Memory(), {})
    for key in ("a", "b"):
        warmer.announce(replace(announced(key), until_s=START_S + TTL_S))
    await warmer.step(START_S)
    shop.request("b", START_S + MINUTE_S)
    shop.is_on = True
    assert results(await warmer.step(START_S + 20 * MINUTE_S)) == {"a": "not_worth"}
    assert shop.asked == []


async def test_what_there_is_no_room_for_costs_nothing_and_is_asked_as_soon_as_there_is() -> None:
    shop = Shop()
    warmer = warmer_of(shop, Memory(), {})
    warmer.announce(replace(announced("a"), due_at_s=START_S + 90, until_s=START_S + TTL_S))
    shop.is_crowded = True
    assert results(await warmer.step(START_S)) == {"a": "no_room"}
    assert (shop.debited, shop.settled, warmer.figures(START_S).total.warms) == (0, 1, 0)
    assert results(await warmer.step(START_S + 0.5)) == {}
    assert results(await warmer.step(START_S + 1)) == {"a": "no_room"}
    shop.is_crowded = False
    assert results(await warmer.step(START_S + 2)) == {"a": "warmed"}
    assert shop.asked == [("acme", "a")]


async def test_at_full_price_with_no_value_for_waiting_nothing_is_asked() -> None:
    shop = Shop(price=1.0)
    warmer = warmer_of(shop, Memory(), PREDICTORS)
    warmer.announce(announced("a"))
    for hour in range(40):
        for minute in (0, 20, 40):
            shop.request("hot", START_S + hour * 3600 + minute * MINUTE_S)
        await warmer.step(START_S + hour * 3600 + 50 * MINUTE_S)
    assert shop.asked == []
    assert warmer.figures(START_S).total.warms == 0


async def test_the_best_value_for_a_dollar_goes_first_and_the_budget_ends_it() -> None:
    shop = Shop(left=int(1.2 * LIVE))
    chances = {"good": 0.9, "better": 0.99, "good too": 0.91}
    warmer, now_s = await trusted(Shop(), Memory(), chances)
    warmer = warmer_of(shop, Memory(), {})
    for key in ("a", "b", "c"):
        warmer.announce(announced(key, at_s=now_s))
    found = await warmer.step(now_s)
    assert sorted(results(found).values()) == ["no_budget", "no_budget", "warmed"]
    assert shop.most_debited <= shop.terms_now.left_nanousd


async def test_a_predictor_must_show_that_it_is_right_before_it_may_spend() -> None:
    shop = Shop()
    warmer = warmer_of(shop, Memory(), {"follow_up": lambda tenant: Says({"a": 0.95})})
    shop.request("other", START_S)
    assert results(await warmer.step(START_S + 1)) == {"a": "stopped"}
    assert shop.asked == []
    warmer, now_s = await trusted(shop, Memory(), {"a": 0.95})
    shop.fresh_until_s.clear()
    assert results(await warmer.step(now_s + 7 * TTL_S)) == {"a": "warmed"}


async def test_a_predictor_that_is_wrong_is_stopped_by_what_it_wasted() -> None:
    shop, memory = Shop(), Memory()
    warmer, now_s = await trusted(shop, memory, {"a": 0.95})
    for number in range(60):  # nobody wants it any more
        await warmer.step(now_s + number * 1.5 * TTL_S)
        shop.now_s = now_s + number * 1.5 * TTL_S
    asked_until_then = len(shop.asked)
    assert asked_until_then < 20
    figures = warmer.figures(now_s)
    assert figures.total.wasted_usd == pytest.approx(figures.total.cost_usd - figures.total.useful * LIVE / 2e9)


async def test_keys_held_out_are_never_warmed_and_what_would_have_been_is_measured() -> None:
    shop = Shop(holdout=0.3)
    warmer = warmer_of(shop, Memory(), {})
    keys = [f"k{number}" for number in range(40)]
    held = {key for key in keys if is_held_out("acme", key, share=0.3, salt="test")}
    assert 3 < len(held) < 25
    for key in keys:
        warmer.announce(announced(key))
    for number in range(4):
        await warmer.step(START_S + number)
    assert {key for _, key in shop.asked} == set(keys) - held
    for key in keys:
        shop.request(key, START_S + 2 * MINUTE_S)
    await warmer.step(START_S + 3 * MINUTE_S)
    found = warmer.figures(START_S + 3 * MINUTE_S)
    assert (found.total.held, found.total.precision_held.value) == (len(held), 1.0)
    assert (found.holdout.keys_held, found.holdout.keys_open) == (len(held), len(keys) - len(held))
    assert found.holdout.misses_removed_per_request.value == 1.0
    assert found.by_origin == {"miss": len(held), "announced": len(keys) - len(held)}
    assert found.total.misses_removed.value == len(keys) - len(held)
    assert found.total.net_usd.value == pytest.approx((len(keys) - len(held)) * LIVE / 2e9)


async def test_what_is_fresh_is_not_asked_and_what_is_about_to_expire_is() -> None:
    shop = Shop()
    shop.fresh_until_s = {"fresh": START_S + 0.5 * TTL_S, "soon": START_S + 0.05 * TTL_S}
    warmer = warmer_of(shop, Memory(), {})
    for key in shop.fresh_until_s:
        warmer.announce(announced(key))
    assert results(await warmer.step(START_S)) == {"fresh": "fresh", "soon": "warmed"}


async def test_switched_off_it_stops_at_once_also_between_two_calls() -> None:
    shop = Shop()
    warmer = warmer_of(shop, Memory(), {})
    for number in range(12):
        warmer.announce(announced(f"k{number}"))

    def switch_off() -> None:
        shop.is_on = False

    shop.during = switch_off
    found = await warmer.step(START_S)
    assert len(shop.asked) == 1
    assert sorted(results(found).values()) == ["off"] * 11 + ["warmed"]
    assert (await warmer.step(START_S + 700)).considered == ()


async def test_no_more_calls_are_in_flight_than_allowed_and_all_debits_are_settled() -> None:
    shop = Shop()

    class Slow(Shop):
        async def warm(
            self, tenant: str, recipe: Recipe, *, level: Level, predictor: PredictorName
        ) -> Warmed | Crowded | None:
            shop.in_flight += 1
            shop.most_in_flight = max(shop.most_in_flight, shop.in_flight)
            await asyncio.sleep(0)
            shop.in_flight -= 1
            return await super().warm(tenant, recipe, level=level, predictor=predictor)

    slow = Slow()
    warmer = warmer_of(slow, Memory(), {})
    for number in range(20):
        warmer.announce(announced(f"k{number}"))
    await warmer.step(START_S)
    assert (shop.most_in_flight, len(slow.asked), slow.settled) == (4, 20, 20)
    assert slow.debited == 20 * LIVE // 2


async def test_where_intents_cannot_be_noted_nothing_is_asked() -> None:
    shop, memory = Shop(), Memory()
    warmer = warmer_of(shop, memory, {})
    warmer.announce(announced("a"))
    memory.fails = 1
    with pytest.raises(HistoryUnavailable):
        await warmer.step(START_S)
    assert shop.asked == []
    assert shop.debited == 0
    await warmer.step(START_S + 1)
    assert shop.asked == [("acme", "a")]


async def test_after_a_crash_between_asking_and_saving_nothing_is_asked_again_and_the_worst_case_is_charged() -> None:
    shop, memory = Shop(share=0.5), Memory()
    shop.request("other", START_S - 10)
    shop.keeps = False  # so that only the note tells of it
    first = warmer_of(shop, memory, {}, save_s=1e9)
    first.announce(announced("a"))

    def crash() -> None:
        raise RuntimeError("power cut")

    shop.during = crash
    with pytest.RaisesGroup(RuntimeError):
        await first.step(START_S)
    shop.during = lambda: None
    second = warmer_of(shop, memory, {})
    second.announce(announced("a"))
    await second.step(START_S + 1)
    assert shop.asked == [("acme", "a")]
    assert shop.debited == LIVE  # twice a warm's price, never settled
    figures = second.figures(START_S + 1)
    assert figures.total.warms == 1


async def test_after_a_clean_save_a_restart_knows_everything_and_counts_nothing_twice() -> None:
    shop, memory = Shop(), Memory()
    warmer, now_s = await trusted(shop, memory, {"a": 0.95})
    await warmer.save(now_s)
    before = warmer.figures(now_s)
    again = warmer_of(shop, memory, {"follow_up": lambda tenant: Says({"a": 0.95})})
    await again.step(now_s)
    after = again.figures(now_s)
    assert after.requests == before.requests == len(shop.entries)
    assert after.total.held == before.total.held
    assert after.total.precision_watched.n >= before.total.precision_watched.n > 0
    assert after.total.warms == before.total.warms > 3
    assert [one.verdict for one in again.standings(now_s)] == [one.verdict for one in warmer.standings(now_s)]


async def test_tenants_never_see_each_others_requests() -> None:
    shop = Shop()
    warmer = warmer_of(shop, Memory(), PREDICTORS)
    rng = random.Random(4)
    for minute in range(0, 3 * 24 * 60, 11):
        tenant = rng.choice(["acme", "rival"])
        like = replace(event(), tenant=tenant, question=f"what is {tenant}?")
        shop.request(f"{tenant} {rng.randrange(3)}", START_S + minute * MINUTE_S, like=like)
        await warmer.step(START_S + minute * MINUTE_S + 1)
    assert {tenant for tenant, _ in shop.asked} == {"acme", "rival"}
    assert all(key.startswith(tenant) for tenant, key in shop.asked)


async def test_popular_keys_are_kept_fresh_and_it_pays_at_half_price() -> None:
    shop = Shop()
    warmer = warmer_of(shop, Memory(), PREDICTORS)
    rng = random.Random(9)
    now_s, next_step_s, misses = START_S, START_S, 0
    while now_s < START_S + 3 * 86_400:
        now_s += rng.expovariate(1 / 700)
        while next_step_s < now_s:
            shop.now_s = next_step_s
            await warmer.step(next_step_s)
            next_step_s += 50
        misses += not shop.request("hot", now_s).was_hit
    await warmer.step(now_s)
    found = warmer.figures(now_s)
    assert found.total.warms > 30
    assert found.total.net_usd.value > 0
    assert found.total.precision.bounds[0] > 0.632
    assert misses == found.by_origin["miss"]
    assert found.total.misses_removed_per_warm.value > 0.5


@settings(max_examples=25, deadline=None)
@given(
    left=st.integers(0, 6 * LIVE),
    share=st.floats(0, 1),
    spent=st.integers(0, 8 * LIVE),
    chances=st.lists(st.floats(0, 1), max_size=12),
)
def test_whatever_is_announced_no_more_than_the_smaller_limit_is_ever_debited(
    left: int, share: float, spent: int, chances: list[float]
) -> None:
    shop = Shop(left=left, share=share)
    shop.terms_now = replace(shop.terms_now, spent_nanousd_day=spent)

    async def run() -> None:
        warmer = warmer_of(shop, Memory(), {})
        for number, _ in enumerate(chances):
            warmer.announce(announced(f"k{number}"))
        for step in range(3):
            await warmer.step(START_S + 700 * step)

    asyncio.run(run())
    assert shop.most_debited <= left
    assert shop.debited <= share * spent
    assert len(shop.asked) * LIVE // 2 == shop.debited
