"""Sums in front of the metric files: nothing is lost, nothing is counted twice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.tally import Count, Spread

BOUNDS = (0.1, 1.0, 10.0)


@given(st.lists(st.one_of(st.none(), st.integers(0, 1000))))
def test_a_count_hands_on_exactly_what_was_added_whenever_it_is_drained(steps: list[int | None]) -> None:
    published: list[float] = []
    count = Count(published.append)
    for step in steps:
        if step is None:
            count.drain()
        else:
            count.add(step)
    count.drain()
    count.drain()
    assert sum(published) == sum(step for step in steps if step is not None)
    assert 0 not in published


@given(st.lists(st.one_of(st.none(), st.sampled_from((0.0, 0.1, 0.5, 1.0, 9.0, 10.0, 11.0)))))
def test_a_spread_hands_on_every_value_in_its_own_bucket(steps: list[float | None]) -> None:
    totals = [0, 0, 0, 0]
    sums: list[float] = []

    def publish(counts: Sequence[int], total: float) -> None:
        for index, count in enumerate(counts):
            totals[index] += count
        sums.append(total)

    spread = Spread(BOUNDS, publish)
    for step in steps:
        if step is None:
            spread.drain()
        else:
            spread.add(step)
    spread.drain()
    spread.drain()
    values = [step for step in steps if step is not None]
    assert totals == [sum(bisect_left(BOUNDS, value) == index for value in values) for index in range(4)]
    assert abs(sum(sums) - sum(values)) < 1e-6
