"""TinyLFU: who may be warm at the same time."""

from __future__ import annotations

import random

from warmer.admission import Admission
from warmer.sketches import CountMin


def test_with_room_everybody_gets_in_and_without_it_only_who_is_hotter_than_the_coldest_unused_warm() -> None:
    admission = Admission(capacity=2)
    for _ in range(5):
        admission.asked("hot")
    assert admission.warmed("hot", probability=0.9, until_s=100, now_s=0) is None
    assert admission.warmed("cold", probability=0.2, until_s=100, now_s=0) is None
    assert not admission.admits("colder", 0.1, 1.0)
    assert admission.admits("warmer", 0.3, 1.0)
    assert admission.warmed("warmer", probability=0.3, until_s=100, now_s=1.0) == "cold"
    assert set(admission.unused) == {"hot", "warmer"}


def test_a_used_warm_is_no_victim_and_an_expired_one_makes_room() -> None:
    admission = Admission(capacity=1)
    admission.warmed("a", probability=0.9, until_s=100, now_s=0)
    admission.asked("a")
    assert admission.victim(1.0) is None
    admission.warmed("b", probability=0.9, until_s=100, now_s=1.0)
    assert admission.victim(50.0) == "b"
    assert admission.victim(100.0) is None


def test_the_sketch_never_counts_too_low_forgets_with_time_and_does_not_grow() -> None:
    sketch = CountMin(width=64, sample=10_000)
    rng = random.Random(1)
    true: dict[str, int] = {}
    for _ in range(3000):
        name = f"k{int(rng.paretovariate(1))}"
        true[name] = true.get(name, 0) + 1
        sketch.add(name)
    assert all(sketch.estimate(name) >= count for name, count in true.items())
    before = sketch.estimate("k1")
    for number in range(7000):
        sketch.add(f"other{number}")
    assert sketch.estimate("k1") < 0.8 * before
    assert len(sketch.counts) == 64 * 4
