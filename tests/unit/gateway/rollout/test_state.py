"""A rollout moves as its guards say: on, held, paused, back; and one state means one version everywhere."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.rollout.buckets import bucket_of
from gateway.rollout.figures import Figures
from gateway.rollout.guards import Reading, Verdict, read_guard
from gateway.rollout.state import SWITCH_S, RolloutState, alpha_of, judged, seen
from policies.rules import GuardRules, RolloutRules

ERRORS = GuardRules(metric="error_rate", worse_by_abs=0.005, min_n=400)
SLOWER = GuardRules(metric="p95_total_ms", worse_by_rel=0.15, min_n=400, action="pause")
RULES = RolloutRules(steps=(5.0, 25.0, 100.0), salt="s", hold_s=60.0, guards=(ERRORS, SLOWER))


def reading(verdict: Verdict) -> Reading:
    """Return what a guard might show."""
    return Reading(metric="error_rate", verdict=verdict, new=0.1, old=0.01, new_n=500, old_n=9000)


def begun() -> RolloutState:
    """Return a rollout that has just begun, at 1000."""
    stable = seen(None, policy="p", version="v1", rules=None, is_change=False, now=0.0)
    return seen(stable, policy="p", version="v2", rules=RULES, is_change=True, now=1000.0 - SWITCH_S)


@given(session=st.text(max_size=30), low=st.floats(0, 100), high=st.floats(0, 100))
def test_a_session_that_is_in_a_step_is_in_every_later_one(session: str, low: float, high: float) -> None:
    bucket = bucket_of("salt", "policy", session)
    assert 0.0 <= bucket < 100.0
    assert not (bucket < min(low, high)) or bucket < max(low, high)


def test_buckets_are_even_and_another_salt_deals_anew() -> None:
    one = [bucket_of("a", "p", str(n)) < 5 for n in range(20_000)]
    other = [bucket_of("b", "p", str(n)) < 5 for n in range(20_000)]
    assert 900 < sum(one) < 1100
    assert sum(a and b for a, b in zip(one, other, strict=True)) < 90


def test_a_changed_file_begins_at_the_first_step_and_takes_effect_everywhere_at_one_instant() -> None:
    state = begun()
    assert (state.stable, state.candidate, state.status) == ("v1", "v2", "running")
    assert (state.percent_at(999.9), state.percent_at(1000.0)) == (0.0, 5.0)


def test_steps_follow_when_held_long_enough_and_every_guard_is_within() -> None:
    state, good = begun(), [reading("within"), reading("within")]
    assert judged(state, RULES, good, now=1059.0, exposed=500) is state
    state = judged(state, RULES, good, now=1060.0, exposed=500)
    assert (state.percent, state.percent_before, state.step) == (25.0, 5.0, 1)
    state = judged(state, RULES, good, now=1200.0, exposed=900)
    state = judged(state, RULES, good, now=1400.0, exposed=2000)
    assert (state.stable, state.candidate, state.status) == ("v2", "", "done")


def test_a_version_that_everybody_is_under_is_not_held_for_want_of_anybody_to_compare_it_with() -> None:
    state, good = begun(), [reading("within"), reading("within")]
    for now in (1060.0, 1200.0):
        state = judged(state, RULES, good, now=now, exposed=500)
    assert (state.percent, state.status) == (100.0, "running")
    new, old = Figures(), Figures()
    for n in range(500):
        new.counts["n"] += 1
        new.counts["e"] += n % 100 == 0
        new.put("t", 1000.0 + n)
    alone = [read_guard(guard, new, old, alpha=alpha_of(RULES)) for guard in RULES.guards]
    assert {one.verdict for one in alone} == {"beyond"}
    assert judged(state, RULES, alone, now=1230.0, exposed=900).status == "running"
    assert judged(state, RULES, alone, now=1400.0, exposed=900).stable == "v2"


def test_a_failed_guard_rolls_back_at_once_and_says_why_and_how_many_were_harmed() -> None:
    state = judged(begun(), RULES, [reading("failed"), reading("within")], now=1001.0, exposed=450)
    assert (state.status, state.percent, state.harmed) == ("rolled_back", 0.0, 450)
    assert "error_rate 0.1 (n=500) against 0.01 (n=9000), allowed: 0.005 worse" in state.reason
    assert state.percent_at(1001.0 + SWITCH_S) == 0.0


def test_a_guard_that_says_pause_pauses_and_one_that_is_unsure_holds_the_step() -> None:
    paused = judged(begun(), RULES, [reading("within"), reading("failed")], now=1001.0, exposed=450)
    assert (paused.status, paused.percent) == ("paused", 5.0)
    assert judged(paused, RULES, [reading("within"), reading("within")], now=9000.0, exposed=450) is paused
    held = judged(begun(), RULES, [reading("within"), reading("beyond")], now=9000.0, exposed=450)
    assert (held.status, held.percent, held.step) == ("running", 5.0, 0)
    assert held.reason.startswith("held at 5 %: inconclusive: ")
    few = judged(begun(), RULES, [reading("too few"), reading("within")], now=9000.0, exposed=45)
    assert "too few" in few.reason


def test_replicas_that_start_follow_the_state_and_files_that_are_put_back_end_it() -> None:
    state = judged(begun(), RULES, [reading("failed"), reading("within")], now=1001.0, exposed=450)
    for version in ("v1", "v2"):
        assert seen(state, policy="p", version=version, rules=RULES, is_change=False, now=2000.0) is state
    back = seen(state, policy="p", version="v1", rules=None, is_change=True, now=2000.0)
    assert (back.stable, back.candidate, back.status) == ("v1", "", "done")
    at_once = seen(state, policy="p", version="v3", rules=None, is_change=True, now=2000.0)
    assert (at_once.stable, at_once.candidate) == ("v3", "")


def arm(rng: random.Random, n: int, *, errors: float, slower: float = 1.0) -> Figures:
    """Return the figures of `n` interactions."""
    figures = Figures()
    for _ in range(n):
        figures.counts["n"] += 1
        figures.counts["e"] += rng.random() < errors
        figures.put("t", 1000.0 * slower * rng.lognormvariate(0, 0.5))
        figures.put("c", 250_000.0 * rng.lognormvariate(0, 0.8))
    return figures


def test_ten_per_cent_of_errors_or_a_third_slower_is_found_and_the_same_version_is_not() -> None:
    rng, alpha = random.Random(3), alpha_of(RULES)
    old = arm(rng, 8000, errors=0.01)
    assert read_guard(ERRORS, arm(rng, 400, errors=0.10), old, alpha=alpha).verdict == "failed"
    assert read_guard(SLOWER, arm(rng, 4000, errors=0.01, slower=1.5), old, alpha=alpha).verdict == "failed"
    same = arm(rng, 4000, errors=0.01)
    assert read_guard(ERRORS, same, old, alpha=alpha).verdict in ("within", "beyond")
    assert read_guard(SLOWER, same, old, alpha=alpha).verdict == "within"
    dearer = GuardRules(metric="cost_usd", worse_by_rel=0.1, min_n=400)
    assert read_guard(dearer, same, old, alpha=alpha).verdict in ("within", "beyond")
    assert read_guard(ERRORS, arm(rng, 399, errors=0.5), old, alpha=alpha).verdict == "too few"
