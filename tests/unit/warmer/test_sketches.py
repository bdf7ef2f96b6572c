"""Space-Saving with decay: the heavy stay, memory is bounded, time passes."""

from __future__ import annotations

import random

import pytest

from warmer.sketches import SpaceSaving


def test_the_heaviest_are_kept_with_about_their_counts_however_many_others_come() -> None:
    hot = SpaceSaving(capacity=40, half_life_s=1e9)
    rng = random.Random(7)
    stream = [f"heavy{n}" for n in range(5) for _ in range(400)] + [f"rare{n}" for n in range(4000)]
    rng.shuffle(stream)
    for name in stream:
        hot.add(name, 0.0)
        assert len(hot.counters) <= 50
    heaviest = hot.heaviest(0.0, least=200.0)
    assert {name for name, _ in heaviest} == {f"heavy{n}" for n in range(5)}
    assert all(weight < 400.001 for _, weight in heaviest)


def test_a_weight_halves_with_every_half_life_and_old_names_make_room_for_new_ones() -> None:
    hot = SpaceSaving(capacity=4, half_life_s=100.0)
    for _ in range(8):
        hot.add("old", 0.0)
    assert hot.weight("old", 200.0) == pytest.approx(2.0)
    evicted: list[str] = []
    for number in range(12):
        evicted.extend(hot.add(f"new{number % 6}", 2000.0))
    assert "old" in evicted
    assert hot.weight("old", 2000.0) == 0.0
