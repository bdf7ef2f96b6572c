"""Intervals cover what they say they cover."""

from __future__ import annotations

import random

import pytest

from warmer.intervals import REPLICAS, Sums, difference, poisson_weights, wilson


def test_wilson_is_as_published_and_says_nothing_of_nothing() -> None:
    found = wilson(8, 10)
    assert found.bounds == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0).bounds == (0.0, 1.0)


def test_newcombes_difference_is_as_published() -> None:
    found = difference(wilson(56, 70), wilson(48, 80))  # Newcombe 1998, table II, method 10, case (a)
    assert found.value == pytest.approx(0.2)
    assert found.bounds == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_bootstrap_weights_are_the_same_for_a_cluster_and_one_on_average() -> None:
    assert poisson_weights("a") == poisson_weights("a")
    weights = [weight for number in range(200) for weight in poisson_weights(f"c{number}")]
    assert sum(weights) / len(weights) == pytest.approx(1.0, abs=0.02)
    assert len(poisson_weights("a")) == REPLICAS


def test_the_bootstrap_covers_a_mean_whose_repeats_belong_together_in_about_95_of_100_cases() -> None:
    covered = 0
    for trial in range(60):
        rng, sums = random.Random(trial), Sums()
        for cluster in range(40):
            value = rng.gauss(1.0, 1.0)
            for _ in range(5):  # repeats that a plain interval would count as 200 independent ones
                sums.add(f"{trial} {cluster}", total=value, n=1.0)
        low, high = sums.estimate(lambda of: of("total") / of("n") if of("n") else None).bounds
        covered += low <= 1.0 <= high
    assert 51 <= covered <= 60


def test_sums_of_two_streams_are_the_sums_of_both_together() -> None:
    first, second, both = Sums(), Sums(), Sums()
    for number in range(300):
        (first if number % 2 else second).add(f"c{number}", x=float(number))
        both.add(f"c{number}", x=float(number))
    first.include(second)
    assert first.estimate(lambda of: of("x")) == both.estimate(lambda of: of("x"))
