"""What is often asked and not fresh will be asked again."""

from __future__ import annotations

import math
import random

import pytest

from tests.unit.warmer.predictors.streams import at_random
from tests.unit.warmer.warmer_bench import START_S, TTL_S, event
from warmer.predictors.popularity import Popularity
from warmer.types import Known

DAY_S = 86_400.0
NOW_S = START_S + 4 * DAY_S


def learnt(*, every_s: float = 1800.0) -> Popularity:
    found = Popularity("acme")
    for one in at_random("often", from_s=START_S, to_s=NOW_S, every_s=every_s):
        found.observe(one)
    return found


def test_the_chance_is_that_of_independent_requests_at_the_observed_rate() -> None:
    (found,) = learnt().predict(NOW_S, {})
    assert found.recipe == Known(key="often")
    assert found.probability == pytest.approx(1 - math.exp(-TTL_S / 1800), abs=0.06)
    assert (found.until_s, found.tenant) == (NOW_S + TTL_S, "acme")


def test_what_is_fresh_and_what_was_asked_once_long_ago_is_not_predicted() -> None:
    found = learnt()
    found.observe(event("once", NOW_S - DAY_S))
    assert found.predict(NOW_S, {"often": NOW_S + 1}) == []


def test_a_key_that_is_no_longer_asked_fades() -> None:
    found = learnt()
    chances = [found.predict(NOW_S + days * DAY_S, {})[0].probability for days in (0, 1, 3)]
    assert chances[0] > chances[1] > chances[2]


def test_the_hour_of_the_week_makes_a_quiet_hour_less_likely_than_a_busy_one() -> None:
    found, rng = Popularity("acme"), random.Random(2)
    for hour in range(24 * 10):
        for _ in range(6 if 9 <= hour % 24 < 18 else 0):
            found.observe(event("often", START_S + hour * 3600 + rng.uniform(0, 100)))
    noon_s = START_S + 10 * DAY_S + 12 * 3600
    night_s = START_S + 10 * DAY_S + 2 * 3600
    (night,), (noon,) = found.predict(night_s, {}), found.predict(noon_s, {})
    assert night.probability < 0.4
    assert noon.probability > 0.9


def test_memory_is_bounded_and_what_was_learnt_survives_as_bytes() -> None:
    found = learnt()
    for number in range(5000):
        found.observe(event(f"k{number}", NOW_S + number))
    assert len(found.dump()) < 40_000
    again = Popularity("acme")
    again.restore(found.dump())
    later_s = NOW_S + 6000
    assert again.predict(later_s, {}) == found.predict(later_s, {})
    again.restore(b"\x00\x63 of another version")
    assert again.predict(later_s, {}) == found.predict(later_s, {})
