"""Serve the neighbour's answer or not, and what to learn from this request: one decision, from one class's state.

Pure: the caller draws. A class *observes* until its bound is proven, then *serves* above the cut that keeps it, and
goes back when it does not (state.py folds that from labels; bound.py says what is proven; drift.py is the breaker).
Must not ask a model, an index or a clock, nor be asked about a pair that features.is_refused.

What is promised, at 95 % confidence for each window of 2,000 to 4,000 labels: hits above the cut are wrong at most
`wrong_per_hit` of the time on average over the window, whenever one looks, however the cut has moved, above the noise
of the comparators. After a sudden change it holds again after `detection_delay_hits` at the latest, on average.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from gateway.cache.semantic import cuts, drift, logistic
from gateway.cache.semantic.answers import NOTHING_KNOWN
from gateway.cache.semantic.bound import floor_samples_wanted
from gateway.cache.semantic.events import Verdict
from gateway.cache.semantic.features import NAMES, with_verdict
from gateway.cache.semantic.state import (
    ClassState,
    floor_rate,
    is_frozen,
    may_verify,
    mean_verify_cost_nanousd,
    promise_of,
)
from policies.rules import SemanticRules

FIRST_HITS: Final = 50
"""Of a class that opens, all of them are asked again."""
SHARE_WHILE_FEW: Final = 0.2
"""Of hits, while labels above the cut are too few to lower it: least where the bound is lenient."""
_FEW: Final = 20.0
_FLOOR_SHARE: Final = 0.01
_FLOOR_SHARE_WHILE_OBSERVING: Final = 0.1
"""What keeps a class from opening may be a floor that was low by chance when it was measured."""
_FLOOR_SHARE_WHILE_WANTED: Final = 1.0
"""As many as labels: where 3 % of right pairs are called different for ever, 0.5 % wrong is proven to be under 2 %
after 3,600 labels; with samples for 40 % of them it takes 6,000."""

_SURE: Final = cuts.CUTS[-1]
"""Log odds from which no verifier could say anything new."""

_IN_COMMON: Final = 0.4
"""Of the content words, before a model is asked: it reads what callers wrote and may be talked into anything by it."""
_CONTENT: Final = NAMES.index("content_jaccard")

Reason = Literal["observing", "below_cut", "denied", "refuted", "unverified", "late"]
"""`late`: it would have been served, had the verifier been quicker or the class open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A question and the answer near it. `question` is the text hashed, `features` as features.features_of_pair.

    `worth_nanousd` is what giving the answer would save, 0 where nobody knows; `verdict` a verifier's, None where none
    was asked. "none" is one that was asked in vain.
    """

    answer_id: str
    question: str
    features: tuple[float, ...]
    worth_nanousd: int = 0
    verdict: Verdict | None = None

    def judged(self, verdict: Verdict) -> Pair:
        """Return the pair as a verifier sees it."""
        return replace(self, features=with_verdict(self.features, verdict), verdict=verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Give the stored answer. `is_sampled`: ask again in the background and compare; `log_odds` go into that label."""

    log_odds: float
    is_sampled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Withhold:
    """Ask the model. Its answer, compared with the stored one, is a free label; `log_odds` go into it.

    `ask_twice`: also ask the same question once more in the background, to measure the comparators' noise.
    """

    log_odds: float
    reason: Reason
    ask_twice: bool

    @property
    def is_apart(self) -> bool:
        """Whether it is withheld whatever its log odds: then its label says nothing of what is served."""
        return self.reason in ("denied", "refuted", "unverified")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Ask the verifier, and decide again with what it says. `log_odds` are those without it."""

    log_odds: float


Decision = Serve | Withhold | Doubt


def decide(state: ClassState, pair: Pair, rules: SemanticRules, *, at_s: float, draw: float) -> Decision:
    """Decide about one pair that no final guard refused. `draw` is uniform in [0, 1), `at_s` Unix seconds."""
    log_odds = score(state, pair)
    if pair.verdict is not None or not is_doubtful(state, pair, rules, log_odds):
        return settle(state, pair, rules, at_s=at_s, draw=draw)
    if pair.question in state.answers.get(pair.answer_id, NOTHING_KNOWN).denied:
        return Withhold(log_odds=log_odds, reason="denied", ask_twice=False)
    if may_verify(state, rules, at_s=at_s):
        return Doubt(log_odds=log_odds)
    return Withhold(log_odds=log_odds, reason="unverified", ask_twice=False)


def settle(state: ClassState, pair: Pair, rules: SemanticRules, *, at_s: float, draw: float) -> Serve | Withhold:
    """Decide about one pair without asking anybody (any more)."""
    log_odds = score(state, pair)
    may_spend = not is_frozen(state, rules, at_s=at_s)
    if pair.question in state.answers.get(pair.answer_id, NOTHING_KNOWN).denied:
        return Withhold(log_odds=log_odds, reason="denied", ask_twice=False)
    if pair.verdict == "different":
        return Withhold(log_odds=log_odds, reason="refuted", ask_twice=False)
    if pair.verdict == "none":
        return Withhold(log_odds=log_odds, reason="unverified", ask_twice=False)
    if state.cut is not None and log_odds >= cuts.CUTS[state.cut]:
        return Serve(log_odds=log_odds, is_sampled=may_spend and draw < sampling_share(state, rules))
    reason: Reason = "observing" if state.cut is None else "below_cut"
    ask_twice = may_spend and wants_second_look(log_odds) and draw < floor_share(state, rules)
    return Withhold(log_odds=log_odds, reason=reason, ask_twice=ask_twice)


def is_doubtful(state: ClassState, pair: Pair, rules: SemanticRules, log_odds: float) -> bool:
    """Whether a verifier's yes would get a pair served that is not sure by itself, and asking it is worth its price.

    A class that observes takes the cut at which its promise is likely to be kept for the one that a yes must reach.
    """
    if rules.verify is None or log_odds >= _SURE or pair.features[_CONTENT] < _IN_COMMON:
        return False
    cut = cuts.likely_cut(promise_of(rules)) if state.cut is None else state.cut
    if _hoped(state, pair.judged("same")) < cuts.CUTS[cut]:
        return False
    hoped_nanousd = pair.worth_nanousd * logistic.sigmoid(log_odds)
    return not pair.worth_nanousd or hoped_nanousd >= mean_verify_cost_nanousd(state)


def score(state: ClassState, pair: Pair) -> float:
    """Return the log odds that the stored answer would be right: the pool's, refined by the answer's own labels."""
    pooled = logistic.log_odds(state.model, np.array(pair.features, dtype=np.float64))
    return logistic.refine(pooled, state.answers.get(pair.answer_id, NOTHING_KNOWN).labels)


def _hoped(state: ClassState, pair: Pair) -> float:
    """Return the score without the discount for what is not known yet: who never asks never finds out."""
    pooled = logistic.centre(state.model, np.array(pair.features, dtype=np.float64))
    return logistic.refine(pooled, state.answers.get(pair.answer_id, NOTHING_KNOWN).labels)


def wants_second_look(log_odds: float) -> bool:
    """Whether a label that says "different" matters so much that both questions should be asked again.

    Only where both comparisons say so is the label "different"; asking twice (AskedTwice) goes by the same rule.
    """
    return log_odds >= cuts.CUTS[cuts.PROMISING]


def sampling_share(state: ClassState, rules: SemanticRules) -> float:
    """Return the share of hits that are asked again now: all of the first 50, a fifth while labels are few, `sample`.

    Few are those with fewer than 20 wrong ones to expect at the bound: 1,000 at 2 %, 400 at 5 %.
    """
    if state.cut is None or state.hit_labels < FIRST_HITS:
        return 1.0
    window = state.windows.current
    is_few = window.labels[state.cut :].sum() * cuts.allowed(window, state.cut, promise_of(rules)) < _FEW
    return max(SHARE_WHILE_FEW, rules.sample) if is_few else rules.sample


def floor_share(state: ClassState, rules: SemanticRules) -> float:
    """Return the share of labelled misses whose question is asked twice: all while the floor is unsure, then few."""
    floor = state.floor.current
    if floor.labels < floor_samples_wanted(floor, rules.wrong_per_hit):
        return _FLOOR_SHARE_WHILE_WANTED
    return _FLOOR_SHARE_WHILE_OBSERVING if state.cut is None else _FLOOR_SHARE


def detection_delay_hits(state: ClassState, rules: SemanticRules) -> float:
    """Return after how many hits, on average, a threefold rate of wrong hits sounds the alarm."""
    return drift.delay_labels(allowed=rules.wrong_per_hit, floor=floor_rate(state)) / rules.sample
