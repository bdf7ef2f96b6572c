"""The gain of the learned arm over a shuffle: what it is compared with, and how sure one can be."""

from __future__ import annotations

import random

from gateway.knowledge.uplift import Arms, Sums


def arms(learned: dict[str, tuple[int, float]], control: dict[str, tuple[int, float]]) -> Arms:
    found = Arms()
    for table, given in ((found.learned, learned), (found.control, control)):
        for group, (n, quality) in given.items():
            sums = table.setdefault(group, Sums())
            for at in range(n):
                sums.add(float(at < n * quality), 1.0)
    return found


def test_the_shuffle_is_weighed_by_the_learned_arms_shares_whatever_was_drawn() -> None:
    found = arms(
        {"small": (800, 0.9), "large": (200, 0.9)},
        {"small": (100, 0.6), "large": (900, 0.95)},
    ).uplift()
    assert found is not None
    assert round(found.gain, 3) == round(0.9 - (0.8 * 0.6 + 0.2 * 0.95), 3)
    assert found.low > 0


def test_without_labels_of_every_model_in_the_control_arm_there_is_no_interval() -> None:
    assert arms({"small": (50, 0.9), "large": (50, 0.9)}, {"large": (500, 0.9)}).uplift() is None
    assert arms({}, {"large": (500, 0.9)}).uplift() is None


def test_an_arm_that_knows_nothing_is_proven_in_at_most_a_few_per_cent_of_cases() -> None:
    rng = random.Random(7)
    proven = 0
    for _ in range(300):
        found = Arms()
        for _ in range(400):
            for table in (found.learned, found.control):
                group, quality = rng.choice((("small", 0.7), ("large", 0.85)))
                table.setdefault(group, Sums()).add(float(rng.random() < quality), 1.0)
        uplift = found.uplift()
        proven += uplift is not None and uplift.low > 0
    assert proven <= 0.05 * 300


def test_old_labels_count_for_less_in_the_error_than_their_number() -> None:
    fresh, aged = Sums(), Sums()
    for at in range(100):
        fresh.add(0.5, 1.0)
        aged.add(0.5, 1.0 if at < 10 else 0.01)
    assert aged.effective_n < 15
    assert aged.error2 > fresh.error2
