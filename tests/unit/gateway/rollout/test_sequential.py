"""Looking at every moment raises no more false alarms than asked for, and real harm is found."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rollout.sequential import mean, proportion


@given(n=st.integers(1, 5000), share=st.floats(0, 1), alpha=st.sampled_from([0.05, 0.01]))
def test_a_proportions_interval_holds_its_estimate_and_narrows_with_a_larger_alpha(
    n: int, share: float, alpha: float
) -> None:
    successes = round(n * share)
    found = proportion(successes, n, alpha=alpha)
    assert 0.0 <= found.low <= found.estimate <= found.high <= 1.0
    wider = proportion(successes, n, alpha=alpha / 10)
    assert wider.low <= found.low
    assert wider.high >= found.high


@pytest.mark.parametrize("p", [0.01, 0.2])
def test_a_proportion_leaves_its_interval_at_any_moment_in_at_most_alpha_of_the_runs(p: float) -> None:
    rng, runs, alpha = random.Random(1), 200, 0.1
    missed = 0
    for _ in range(runs):
        successes = 0
        for n in range(1, 601):
            successes += rng.random() < p
            if n % 20 == 0:
                found = proportion(successes, n, alpha=alpha)
                if not found.low <= p <= found.high:
                    missed += 1
                    break
    assert missed <= runs * alpha


def test_a_skewed_mean_leaves_its_interval_from_min_n_on_in_at_most_alpha_of_the_runs() -> None:
    rng, runs, alpha, sigma = random.Random(2), 200, 0.1, 0.7
    truth = math.exp(sigma**2 / 2)
    missed = 0
    for _ in range(runs):
        total = squares = 0.0
        for n in range(1, 1501):
            value = rng.lognormvariate(0, sigma)
            total += value
            squares += value * value
            if n >= 400 and n % 50 == 0:
                found = mean(n, total, squares, alpha=alpha)
                if not found.low <= truth <= found.high:
                    missed += 1
                    break
    assert missed <= runs * alpha


def test_intervals_close_in_on_the_truth() -> None:
    assert proportion(100, 10_000, alpha=0.05).high < 0.015
    assert proportion(0, 400, alpha=0.05).high < 0.02
    assert proportion(400, 400, alpha=0.05).low > 0.98
    rough, fine = mean(500, 500.0, 750.0, alpha=0.05), mean(50_000, 50_000.0, 75_000.0, alpha=0.05)
    assert fine.high - fine.low < (rough.high - rough.low) / 5
