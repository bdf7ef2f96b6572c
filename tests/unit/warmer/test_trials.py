"""The counterfactual: a shadow cache without the warm, request by request."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.unit.warmer.warmer_bench import LIVE, TTL_S, event
from warmer.trials import Trial, TrialKind, Trials

T = 1_000_000.0


def trial(kind: TrialKind = "warm", at_s: float = T, *, shadow_until_s: float | None = None) -> Trial:
    return Trial(
        name="acme k",
        tenant="acme",
        predictor="popularity",
        level="answer",
        kind=kind,
        at_s=at_s,
        until_s=at_s + TTL_S,
        due_s=at_s + TTL_S,
        shadow_until_s=at_s if shadow_until_s is None else shadow_until_s,
        real_until_s=at_s + TTL_S,
        cost_nanousd=LIVE // 2,
        saves_nanousd=LIVE,
        saves_wait_s=2.0,
    )


def asked(trials: Trials, at_s: float, *, was_hit: bool) -> tuple[int, int]:
    """Tell of a request; return how many trials it makes useful in time, and late."""
    ended = trials.saw(replace(event("k", at_s), was_hit=was_hit, waited_s=0.01 if was_hit else 2.0))
    return len(ended.useful), len(ended.late)


def test_a_warm_that_a_request_hits_has_removed_a_miss_once_however_many_hit_it() -> None:
    trials, one = Trials(), trial()
    trials.start(one)
    assert asked(trials, T + 100, was_hit=True) == (1, 0)
    assert asked(trials, T + 200, was_hit=True) == (0, 0)
    assert (one.is_useful, one.removed, one.saved_nanousd, one.lead_s) == (True, 1, LIVE, 100)
    assert one.saved_wait_s == pytest.approx(1.99)


def test_a_hit_that_would_have_been_one_without_the_warm_is_not_the_warms() -> None:
    trials, one = Trials(), trial(shadow_until_s=T + 500)
    trials.start(one)
    assert asked(trials, T + 400, was_hit=True) == (0, 0)
    assert one.removed == 0
    assert asked(trials, T + 600, was_hit=True) == (1, 0)


def test_a_miss_that_the_later_filled_shadow_would_not_have_had_is_counted_against_the_warm() -> None:
    trials, one = Trials(), trial()
    trials.start(one)
    asked(trials, T + 1000, was_hit=True)
    asked(trials, T + TTL_S + 500, was_hit=False)  # without the warm: filled at T + 1000, still good
    assert one.removed == 0
    assert one.saved_nanousd == 0
    asked(trials, T + TTL_S + 1100, was_hit=True)  # and now the shadow is over, and ours is not
    assert one.removed == 1


def test_a_warm_that_nobody_wants_in_time_is_useless_and_can_still_be_useful_late() -> None:
    trials, one = Trials(), trial()
    one.due_s = T + 60
    trials.start(one)
    assert trials.expire(T + 60).useless == ()
    assert trials.expire(T + 61).useless == (one,)
    assert asked(trials, T + 500, was_hit=True) == (0, 1)
    assert one.is_useful is True
    assert trials.expire(T + 2 * TTL_S).closed == (one,)
    assert not trials.warms


def test_a_second_warm_takes_over_the_shadow_of_the_first() -> None:
    trials, first, second = Trials(), trial(), trial(at_s=T + TTL_S)
    trials.start(first)
    asked(trials, T + 1000, was_hit=True)
    assert trials.start(second).closed == (first,)
    assert second.shadow_until_s == T + 1000 + TTL_S
    assert asked(trials, T + TTL_S + 500, was_hit=True) == (0, 0)
    assert asked(trials, T + TTL_S + 1001, was_hit=True) == (1, 0)


@pytest.mark.parametrize("kind", ["held", "paper"])
def test_what_is_only_watched_is_useful_if_somebody_then_had_to_wait(kind: TrialKind) -> None:
    trials, one = Trials(), trial(kind, shadow_until_s=T + 50)
    trials.start(one)
    assert trials.is_watched("acme k", "popularity", T + 1)
    assert not trials.is_watched("acme k", "follow_up", T + 1)
    assert asked(trials, T + 20, was_hit=True) == (0, 0)
    assert asked(trials, T + 60, was_hit=False) == (1, 0)
    assert one.removed == 0
    assert not trials.is_watched("acme k", "popularity", T + 61)


def test_a_real_warm_ends_what_is_watched_of_its_key_without_an_outcome() -> None:
    trials, watched = Trials(), trial("paper")
    trials.start(watched)
    assert trials.start(trial()).useless == ()
    asked(trials, T + 60, was_hit=True)
    assert watched.is_useful is None


def test_misses_removed_are_exactly_those_of_a_cache_without_the_warms() -> None:
    for seed in range(40):
        rng, trials, warms = random.Random(seed), Trials(), list[Trial]()
        real, without, real_misses, misses_without = 0.0, 0.0, 0, 0
        now_s = T
        for _ in range(60):
            now_s += rng.expovariate(1 / 1500)
            if rng.random() < 0.3:
                warms.append(trial(at_s=now_s, shadow_until_s=max(now_s, real)))
                trials.start(warms[-1])
                real = now_s + TTL_S
                continue
            was_hit = now_s <= real
            real_misses += not was_hit
            real = real if was_hit else now_s + TTL_S
            misses_without += now_s > without
            without = without if now_s <= without else now_s + TTL_S
            trials.expire(now_s)
            asked(trials, now_s, was_hit=was_hit)
        assert sum(one.removed for one in warms) == misses_without - real_misses
