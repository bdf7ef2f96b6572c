"""The smaller of a day's sum and a share of the day's spend, never overspent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from warmer.budget import Spent, left
from warmer.types import Terms

HOUR_S = 3600.0


def terms(*, left_nanousd: int = 10**9, spent: int = 1000, share: float = 0.1) -> Terms:
    return Terms(
        policy="p",
        left_nanousd=left_nanousd,
        spent_nanousd_day=spent,
        max_share_of_spend=share,
        wait_value_nanousd=0,
        holdout=0.0,
    )


def test_the_smaller_of_both_limits_counts_and_nothing_goes_below_zero() -> None:
    spent = Spent()
    assert left(terms(), spent, 0.0) == 100
    assert left(terms(left_nanousd=7), spent, 0.0) == 7
    spent.debit(150, 0.0)
    assert left(terms(), spent, 0.0) == 0


def test_what_was_spent_counts_for_a_day_and_no_longer() -> None:
    spent = Spent()
    hour = spent.debit(60, 0.5 * HOUR_S)
    spent.settle(hour, bound_nanousd=60, cost_nanousd=40)
    assert left(terms(), spent, 24.4 * HOUR_S) == 60
    assert left(terms(), spent, 25.1 * HOUR_S) == 100
    spent.debit(1, 60 * HOUR_S)
    assert len(spent.by_hour) == 1


@given(st.lists(st.tuples(st.floats(0, 3 * HOUR_S), st.integers(0, 200), st.floats(0, 1), st.booleans()), max_size=60))
def test_whatever_is_asked_in_whatever_order_no_day_costs_more_than_its_share(
    asks: list[tuple[float, int, float, bool]],
) -> None:
    spent, now_s = Spent(), 0.0
    costs: list[tuple[float, int]] = []
    for gap_s, bound, part, is_settled in asks:
        now_s += gap_s
        if bound > left(terms(), spent, now_s):
            continue
        hour = spent.debit(bound, now_s)
        cost = bound
        if is_settled:  # else it crashed, and is charged in full
            cost = int(bound * part)
            spent.settle(hour, bound_nanousd=bound, cost_nanousd=cost)
        costs.append((now_s, cost))
        assert sum(one for at_s, one in costs if at_s > now_s - 24 * HOUR_S) <= 100
