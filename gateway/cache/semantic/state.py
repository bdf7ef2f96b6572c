"""One class (route x scope family) of the semantic tier: everything learned of it, folded from its log of events.

Pure: the same events in the same order give the same state in every worker (to the last bit on one kind of machine; a
snapshot brings others back together). Must not draw, read a clock, or decide what happens to a request: that is
gate.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from gateway.cache.semantic import answers, cuts, drift, logistic
from gateway.cache.semantic.answers import AnswerEvidence
from gateway.cache.semantic.bound import FALSE_SAME
from gateway.cache.semantic.cuts import Promise, Rolling, RollingCounts
from gateway.cache.semantic.events import AskedTwice, Counted, Event, Labelled, Reopened, Verified
from gateway.cache.semantic.free_text import Similarities
from gateway.cache.semantic.logistic import Pooled
from policies.rules import SemanticRules

Mode = Literal["observe", "serving"]

_EVALUATE_EVERY: Final = 10
"""Labels above the lowest cut between two looks at the bound: it may be looked at always, this only saves time."""
_NOISE_BEFORE_MEASURED: Final = 0.03
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the class's life; money in nano-dollars. `floor_checks` are questions asked twice.

    `affirmed`, `refuted` and `unverified` are the verifier's verdicts: same, different, none that could be used.
    """

    requests: int = 0
    hits: int = 0
    labels: int = 0
    hit_labels: int = 0
    floor_checks: int = 0
    alarms: int = 0
    saved_nanousd: int = 0
    label_cost_nanousd: int = 0
    affirmed: int = 0
    refuted: int = 0
    unverified: int = 0
    verify_cost_nanousd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassState:
    """What is known of one class. `cut` is an index of cuts.CUTS while serving; `hit_labels` are those since it opened.

    `spent_nanousd` is what labels cost on `day` (days since 1970, UTC), `verify_spent_nanousd` what verifying did.
    """

    model: Pooled
    windows: Rolling = field(default_factory=cuts.empty)
    floor: RollingCounts = field(default_factory=RollingCounts)
    similarities: Similarities = field(default_factory=Similarities)
    answers: Mapping[str, AnswerEvidence] = field(default_factory=dict)
    cut: int | None = None
    hit_labels: int = 0
    drift_level: float = 0.0
    since_evaluated: int = 0
    day: int = 0
    spent_nanousd: int = 0
    verify_spent_nanousd: int = 0
    totals: Totals = field(default_factory=Totals)

    @property
    def mode(self) -> Mode:
        """Whether anything is served."""
        return "observe" if self.cut is None else "serving"


def begin(prior_mean: tuple[float, ...]) -> ClassState:
    """Return a class of which nothing is known; `prior_mean` are the model's first weights (features.PRIOR)."""
    return ClassState(model=logistic.untaught(prior_mean))


def fold(state: ClassState, event: Event, rules: SemanticRules) -> ClassState:
    """Return the state after one event."""
    match event:
        case Labelled():
            return _after_label(_spend(state, event.at_s, event.cost_nanousd), event, rules)
        case AskedTwice():
            return _after_floor_check(_spend(state, event.at_s, event.cost_nanousd), event)
        case Counted():
            return _after_count(state, event)
        case Verified():
            return _after_verdict(_at_day(state, event.at_s), event)
        case Reopened():
            return replace(_closed(state), answers={})


def is_frozen(state: ClassState, rules: SemanticRules, *, at_s: float) -> bool:
    """Whether the day's budget for labels is spent: then nothing is loosened until the next day (UTC)."""
    spent = state.spent_nanousd if int(at_s // _DAY_S) <= state.day else 0
    return spent >= rules.label_budget_nanousd_day


def may_verify(state: ClassState, rules: SemanticRules, *, at_s: float) -> bool:
    """Whether the day's budget for verifying has anything left; False without a verifier."""
    spent = state.verify_spent_nanousd if int(at_s // _DAY_S) <= state.day else 0
    return rules.verify is not None and spent < rules.verify.budget_nanousd_day


def mean_verify_cost_nanousd(state: ClassState) -> float:
    """Return what asking a verifier has cost on average; 0 before anybody was asked."""
    totals = state.totals
    return totals.verify_cost_nanousd / max(1, totals.affirmed + totals.refuted + totals.unverified)


def promise_of(rules: SemanticRules) -> Promise:
    """Return the bounds of a policy as the cuts want them."""
    return Promise(wrong_per_hit=rules.wrong_per_hit, wrong_per_request=rules.wrong_per_request)


def floor_rate(state: ClassState) -> float:
    """Return how often comparators call a right pair different, as measured; a guess before there are 50 samples."""
    floor = state.floor.current
    return min(0.3, floor.wrong / floor.labels) if floor.labels >= 50 else _NOISE_BEFORE_MEASURED


def _after_label(state: ClassState, event: Labelled, rules: SemanticRules) -> ClassState:
    totals = state.totals
    features = np.array(event.features, dtype=np.float64)
    if features.size != state.model.mean.size:
        return state  # from a version whose features were others
    floor = floor_rate(state)
    state = replace(
        state,
        model=logistic.learn(state.model, features, 1 - event.different, noise=floor, false_same=FALSE_SAME),
        windows=state.windows
        if event.is_apart
        else cuts.with_label(state.windows, event.log_odds, event.different, is_new_pair=not event.was_hit),
        answers=answers.remember(
            state.answers,
            event.answer_id,
            question=event.question,
            log_odds=event.log_odds,
            right=1 - event.different,
        ),
        since_evaluated=state.since_evaluated + (event.log_odds >= cuts.CUTS[0] and not event.is_apart),
        hit_labels=state.hit_labels + event.was_hit,
        totals=replace(totals, labels=totals.labels + 1, hit_labels=totals.hit_labels + event.was_hit),
    )
    if event.was_hit and state.cut is not None:
        level = drift.step(state.drift_level, event.different, allowed=rules.wrong_per_hit, floor=floor)
        if drift.is_alarm(level):
            return _alarmed(state)
        state = replace(state, drift_level=level)
    if state.since_evaluated >= _EVALUATE_EVERY or (event.was_hit and event.different >= 0.5):
        return _evaluated(state, rules, at_s=event.at_s)
    return state


def _evaluated(state: ClassState, rules: SemanticRules, *, at_s: float) -> ClassState:
    """Look at the bound: open, loosen, tighten or close. While frozen only the last two."""
    kept = cuts.lowest_kept(state.windows.current, promise_of(rules), served_from=state.cut, floor=state.floor.current)
    state = replace(state, since_evaluated=0)
    if kept is None:
        return state if state.cut is None else replace(state, cut=None, hit_labels=0, drift_level=0.0)
    if is_frozen(state, rules, at_s=at_s):
        return state if state.cut is None else replace(state, cut=max(kept.cut, state.cut))
    return replace(state, cut=kept.cut)


def _after_floor_check(state: ClassState, event: AskedTwice) -> ClassState:
    totals = replace(state.totals, floor_checks=state.totals.floor_checks + 1)
    return replace(
        state,
        floor=cuts.with_floor(state.floor, event.different),
        similarities=state.similarities.with_pair(event.similarity, event.stranger),
        totals=totals,
    )


def _after_verdict(state: ClassState, event: Verified) -> ClassState:
    totals, verdict, cost = state.totals, event.verdict, event.cost_nanousd
    return replace(
        state,
        answers=state.answers
        if verdict == "none"
        else answers.remember_verdict(
            state.answers, event.answer_id, question=event.question, is_same=verdict == "same"
        ),
        verify_spent_nanousd=state.verify_spent_nanousd + cost,
        totals=replace(
            totals,
            affirmed=totals.affirmed + (verdict == "same"),
            refuted=totals.refuted + (verdict == "different"),
            unverified=totals.unverified + (verdict == "none"),
            verify_cost_nanousd=totals.verify_cost_nanousd + cost,
        ),
    )


def _after_count(state: ClassState, event: Counted) -> ClassState:
    if len(event.hits) != len(cuts.CUTS):
        return state  # from a version whose cuts were others
    totals = replace(
        state.totals,
        requests=state.totals.requests + event.requests,
        hits=state.totals.hits + sum(event.hits),
        saved_nanousd=state.totals.saved_nanousd + event.saved_nanousd,
    )
    hits = np.array(event.hits, dtype=np.float64)
    return replace(state, windows=cuts.with_requests(state.windows, event.requests, hits), totals=totals)


def _alarmed(state: ClassState) -> ClassState:
    return replace(_closed(state), totals=replace(state.totals, alarms=state.totals.alarms + 1))


def _closed(state: ClassState) -> ClassState:
    """Go back to observing with no evidence for any cut; what the model and single answers taught stays."""
    return replace(state, windows=cuts.empty(), cut=None, hit_labels=0, drift_level=0.0, since_evaluated=0)


def _spend(state: ClassState, at_s: float, cost_nanousd: int) -> ClassState:
    if not cost_nanousd:
        return state
    state = _at_day(state, at_s)
    totals = replace(state.totals, label_cost_nanousd=state.totals.label_cost_nanousd + cost_nanousd)
    return replace(state, spent_nanousd=state.spent_nanousd + cost_nanousd, totals=totals)


def _at_day(state: ClassState, at_s: float) -> ClassState:
    """Return the state with nothing spent where a day begins; what comes late from yesterday counts for today."""
    day = int(at_s // _DAY_S)
    return state if day <= state.day else replace(state, day=day, spent_nanousd=0, verify_spent_nanousd=0)
