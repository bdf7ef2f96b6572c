"""Chances turned into those that outcomes bear out."""

from __future__ import annotations

import random

import pytest

from warmer.calibration import EDGES, Calibration, Open


def fed(says: float, comes: float, *, n: int = 600, seed: int = 3) -> Calibration:
    """Return one that was told `says` of things of which a share of `comes` came, one after the other."""
    rng, found = random.Random(seed), Calibration()
    for number in range(n):
        now_s = 10.0 * number
        opened = Open(from_s=now_s, until_s=now_s + 5, said=says, given=found.chance(says))
        found.expect("x", opened)
        if rng.random() < comes:
            found.saw(["x"], now_s + 1)
        found.expire(now_s + 6)
    return found


def test_without_outcomes_a_predictor_is_taken_at_its_word() -> None:
    assert Calibration().chance(0.35) == pytest.approx(0.35)
    assert Calibration().chance(0.0) == 0.0


def test_a_predictor_that_says_too_much_is_taken_down_to_what_came() -> None:
    found = fed(0.85, 0.3)
    assert found.chance(0.85) == pytest.approx(0.3, abs=0.06)
    table = found.reliability()
    assert table.n == 600
    assert table.brier < table.brier_said - 0.2
    assert table.ece < 0.1


def test_chances_stay_in_order_whatever_came() -> None:
    found = fed(0.9, 0.1)
    points = [found.chance(said / 100) for said in range(101)]
    assert points == sorted(points)
    assert all(0 <= point <= 1 for point in points)


def test_outcomes_are_forgotten_so_that_a_predictor_that_changes_is_believed_again() -> None:
    found = fed(0.85, 0.05)
    low = found.chance(0.85)
    rng = random.Random(5)
    for number in range(600):
        now_s = 1e6 + 10.0 * number
        found.expect("x", Open(from_s=now_s, until_s=now_s + 5, said=0.85, given=0.5))
        if rng.random() < 0.9:
            found.saw(["x"], now_s + 1)
        found.expire(now_s + 6)
    assert low < 0.15
    assert found.chance(0.85) > 0.75


def test_what_comes_before_its_time_or_after_it_does_not_count_and_the_open_are_bounded() -> None:
    found = Calibration()
    found.expect("x", Open(from_s=10, until_s=20, said=0.5, given=0.5))
    found.saw(["x"], 5)
    assert found.n == 0
    found.expire(21)
    found.saw(["x"], 22)
    assert (found.n, found.came) == (1, 0)
    for number in range(3000):
        found.expect(f"y{number}", Open(from_s=0, until_s=1e9, said=0.5, given=0.5))
    assert len(found.open) == 1024


def test_every_row_of_the_table_has_an_interval_that_holds_its_share() -> None:
    rows = fed(0.55, 0.5).reliability().rows
    assert 0 < len(rows) < len(EDGES)
    assert all(low <= row.came.value <= high for row in rows for low, high in [row.came.bounds])
