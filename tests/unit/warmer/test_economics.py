"""What a warm is worth: the break-even points, and which of answer and prefix is chosen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmer.economics import Chance, best
from warmer.types import Quote

QUOTE = Quote(key="k", live_nanousd=1000, warm_nanousd=500, bound_nanousd=900, wait_s=2.0, ttl_s=3600.0)


def chance(probability: float, *, is_recurring: bool = False) -> Chance:
    return Chance(probability=probability, horizon_s=3600.0, is_recurring=is_recurring)


@given(
    probability=st.floats(0, 1),
    is_recurring=st.booleans(),
    live=st.integers(0, 10**9),
    dearer=st.integers(0, 10**9),
)
def test_at_full_price_and_with_no_value_for_waiting_nothing_is_ever_chosen(
    probability: float, is_recurring: bool, live: int, dearer: int
) -> None:
    quote = replace(QUOTE, live_nanousd=live, warm_nanousd=live + dearer)
    found = best(chance(probability, is_recurring=is_recurring), quote, level="answer", wait_value_nanousd=0)
    assert found is None


@pytest.mark.parametrize(("probability", "is_chosen"), [(0.49, False), (0.51, True)])
def test_what_is_wanted_once_pays_at_half_price_from_one_half_on(probability: float, is_chosen: bool) -> None:
    assert (best(chance(probability), QUOTE, level="answer", wait_value_nanousd=0) is not None) is is_chosen


@pytest.mark.parametrize(("probability", "is_chosen"), [(0.62, False), (0.64, True)])
def test_what_recurs_pays_at_half_price_from_where_requests_alone_keep_it_fresh_half_the_time(
    probability: float, is_chosen: bool
) -> None:
    recurring = chance(probability, is_recurring=True)
    assert (best(recurring, QUOTE, level="answer", wait_value_nanousd=0) is not None) is is_chosen
    assert recurring.break_even(0.5) == pytest.approx(1 - math.exp(-1))


def test_a_valued_wait_makes_full_price_worth_it_when_p_times_one_plus_v_is_above_r() -> None:
    full = replace(QUOTE, warm_nanousd=1000)
    worth_half_a_call = 250  # a second; two are waited for
    assert best(chance(0.6), full, level="answer", wait_value_nanousd=worth_half_a_call) is None
    found = best(chance(0.7), full, level="answer", wait_value_nanousd=worth_half_a_call)
    assert found is not None
    assert found.ratio == pytest.approx(1 / 1.5)
    assert found.value == pytest.approx((0.7 * 1500 - 1000) / 1000)


def test_where_a_prefix_saves_more_for_its_price_it_is_chosen_and_its_shorter_life_counts() -> None:
    quote = replace(QUOTE, prefix_nanousd=10, prefix_saved_nanousd=400, prefix_ttl_s=300.0)
    unlikely = best(chance(0.4), quote, level="answer", wait_value_nanousd=0)
    assert unlikely is not None
    assert unlikely.level == "prefix"
    assert unlikely.probability == pytest.approx(1 - 0.6 ** (300 / 3600))
    likely = best(chance(0.95), quote, level="answer", wait_value_nanousd=0)
    assert likely is not None
    assert likely.level == "answer"
    only = best(chance(0.95), quote, level="prefix", wait_value_nanousd=0)
    assert only is not None
    assert only.level == "prefix"


def test_an_answer_that_ends_before_its_known_time_is_worth_nothing() -> None:
    dated = Chance(probability=0.9, horizon_s=7200.0, due_in_s=5400.0, is_dated=True)
    assert dated.within(3600.0) == 0.0
    assert dated.within(6000.0) == 0.9
