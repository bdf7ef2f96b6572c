"""Popular answers are made anew shortly before they expire."""

from __future__ import annotations

import pytest

from tests.unit.warmer.predictors.streams import at_random
from tests.unit.warmer.warmer_bench import START_S, TTL_S, event
from warmer.predictors.refresh_ahead import RefreshAhead, early_s

NOW_S = START_S + 2 * 86_400.0


def learnt() -> RefreshAhead:
    found = RefreshAhead("acme")
    for one in at_random("often", from_s=START_S, to_s=NOW_S, every_s=900.0):
        found.observe(one)
    return found


def test_only_what_is_about_to_expire_is_predicted_and_from_its_expiry_on() -> None:
    found = learnt()
    assert found.predict(NOW_S, {"often": NOW_S + 0.5 * TTL_S}) == []
    assert found.predict(NOW_S, {"often": NOW_S - 1}) == []
    assert found.predict(NOW_S, {}) == []
    (one,) = found.predict(NOW_S, {"often": NOW_S + 30})
    assert (one.from_s, one.until_s) == (NOW_S + 30, NOW_S + TTL_S)
    assert one.probability == pytest.approx(0.98, abs=0.02)


def test_how_early_is_drawn_by_key_and_expiry_and_never_more_than_a_tenth_of_the_time() -> None:
    draws = [early_s("k", START_S + number, TTL_S) for number in range(500)]
    assert min(draws) >= 60.0
    assert max(draws) <= 0.1 * TTL_S
    assert len(set(draws)) > 400
    assert early_s("k", START_S, TTL_S) == early_s("k", START_S, TTL_S)
    assert early_s("k", START_S, 100.0) == 10.0


def test_what_was_learnt_survives_as_bytes() -> None:
    found, again = learnt(), RefreshAhead("acme")
    for number in range(3000):
        found.observe(event(f"k{number}", NOW_S))
    again.restore(found.dump())
    soon = {"often": NOW_S + 30}
    assert again.predict(NOW_S, soon) == found.predict(NOW_S, soon) != []
    assert len(found.dump()) < 40_000
