"""The bound on wrong hits: it holds as often as it says, however often one looks, and noise is taken off only if
seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.semantic.bound import (
    ALPHA,
    Counts,
    Evidence,
    Stratum,
    estimate,
    floor_samples_wanted,
    log_evidence,
    upper_bound,
)

NOTHING = Counts()


def above(labels: int, wrong: float, *, floor: Counts = NOTHING, served: Stratum | None = None) -> Evidence:
    withheld = Stratum(pairs=labels, seen=Counts(labels=labels, wrong=wrong))
    return Evidence(served=served or Stratum(pairs=0, seen=NOTHING), withheld=withheld, floor=floor)


def test_nothing_seen_bounds_nothing() -> None:
    assert upper_bound(above(0, 0)) == 1.0


def test_clean_labels_prove_two_percent_after_about_two_hundred_and_never_before_149() -> None:
    """149 is what a test that looks once needs; looking always costs the rest."""
    need = math.log(1 / ALPHA)
    first = next(n for n in range(1, 1000) if log_evidence(above(n, 0), 0.02) >= need)
    assert 149 <= first <= 260


def test_errors_of_comparators_are_not_taken_off_unless_the_same_question_asked_twice_shows_them() -> None:
    called = above(2000, 80)
    noisy = above(2000, 80, floor=Counts(labels=1000, wrong=30))
    assert upper_bound(called) > 0.045
    assert upper_bound(noisy) < upper_bound(called) - 0.01


def test_a_floor_seen_ten_times_is_believed_less_than_one_seen_a_thousand_times() -> None:
    few, many = Counts(labels=10, wrong=0.3), Counts(labels=1000, wrong=30)
    assert upper_bound(above(2000, 80, floor=few)) > upper_bound(above(2000, 80, floor=many))


def test_served_pairs_without_labels_could_hide_everything() -> None:
    blind = Stratum(pairs=2000, seen=NOTHING)
    assert upper_bound(above(2000, 0, served=blind)) > 0.4


def test_a_few_labels_of_many_served_pairs_count_for_all_of_them() -> None:
    sampled = Stratum(pairs=10_000, seen=Counts(labels=300, wrong=0))
    assert upper_bound(above(50, 25, served=sampled)) < 0.05


@given(st.integers(1, 3000), st.floats(0, 0.3), st.floats(0, 0.2))
def test_more_wrong_labels_never_lower_the_bound(labels: int, share: float, more: float) -> None:
    fewer = upper_bound(above(labels, share * labels))
    assert upper_bound(above(labels, (share + more) * labels)) >= fewer - 1e-3
    assert fewer >= estimate(above(labels, share * labels)) - 1e-3


@pytest.mark.parametrize(("wrong", "noise"), [(0.02, 0.0), (0.02, 0.03), (0.05, 0.03)])
def test_looking_again_and_again_a_bad_class_is_passed_in_at_most_five_of_a_hundred_streams(
    wrong: float, noise: float
) -> None:
    """The true rate is exactly the limit: every pass is an error. 120 streams of 1,500 labels, a look every 100."""
    draw = np.random.default_rng(8)
    need, passed, streams = math.log(1 / ALPHA), 0, 120
    for _ in range(streams):
        called = draw.random(1500) < wrong * 0.997 + (1 - wrong) * noise
        floor = Counts(labels=300, wrong=float((draw.random(300) < noise).sum()))
        sums = np.cumsum(called)
        looks = range(99, 1500, 100)
        passed += any(log_evidence(above(n + 1, float(sums[n]), floor=floor), wrong) >= need for n in looks)
    assert passed <= streams * ALPHA


def test_a_good_class_is_passed_in_most_streams() -> None:
    draw = np.random.default_rng(9)
    need, passed = math.log(1 / ALPHA), 0
    for _ in range(50):
        wrong = float((draw.random(3000) < 0.005 * 0.997 + 0.995 * 0.01).sum())
        floor = Counts(labels=1000, wrong=float((draw.random(1000) < 0.01).sum()))
        passed += log_evidence(above(3000, wrong, floor=floor), 0.02) >= need
    assert passed >= 40


def test_a_tighter_bound_wants_its_noise_measured_better() -> None:
    floor = Counts(labels=500, wrong=15)
    assert floor_samples_wanted(floor, 0.02) > 4 * floor_samples_wanted(floor, 0.05)
    assert floor_samples_wanted(Counts(labels=500, wrong=0), 0.02) < floor_samples_wanted(floor, 0.02)
