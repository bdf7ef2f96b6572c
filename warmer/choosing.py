"""Which predictions are worth warming, in which order, and which of them may be: pure but for the judges' books.

Must not ask. What is worth it and is not done all the same is named with its reason, so that it can be watched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from warmer.budget import left
from warmer.economics import Chance, Choice, best
from warmer.learner import Learner, Scored
from warmer.results import Result
from warmer.trials import Trial, TrialKind
from warmer.types import PredictorName, Quote, Terms

_DATED: frozenset[PredictorName] = frozenset({"schedule", "announced"})
_RECURRING: frozenset[PredictorName] = frozenset({"popularity", "refresh_ahead"})
_MOST_FRESH = 0.1
"""An answer with more of its time left than this share is fresh, and is not made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A prediction that is worth warming."""

    scored: Scored
    quote: Quote
    choice: Choice

    @property
    def name(self) -> str:
        """What its trial goes by: the key, or the transcript for any question about that."""
        prediction = self.scored.prediction
        if prediction.level == "prefix" and prediction.attachment:
            return f"{prediction.tenant} about {prediction.attachment}"
        return f"{prediction.tenant} {self.quote.key}"

    def trial(self, kind: TrialKind, now_s: float) -> Trial:
        """Return what is to be followed of it."""
        choice, prediction = self.choice, self.scored.prediction
        return Trial(
            name=self.name,
            tenant=prediction.tenant,
            predictor=prediction.predictor,
            level=choice.level,
            kind=kind,
            at_s=now_s,
            until_s=now_s + choice.ttl_s,
            due_s=min(now_s + choice.ttl_s, max(now_s, prediction.until_s)),
            shadow_until_s=max(now_s, self.quote.fresh_until_s) if choice.level == "answer" else now_s,
            real_until_s=now_s + choice.ttl_s,
            cost_nanousd=choice.cost_nanousd,
            saves_nanousd=choice.saves_nanousd,
            saves_wait_s=choice.saves_wait_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What to ask now, and what was left, with why."""

    picks: tuple[Priced, ...]
    left_out: tuple[tuple[Priced, Result], ...]


def is_held_out(tenant: str, key: str, *, share: float, salt: str) -> bool:
    """Return whether `key` is one of the share that is never warmed; the same for ever, as long as the salt is."""
    digest = hashlib.blake2b(f"{salt}\n{tenant}\n{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def priced(scored: Scored, quote: Quote, terms: Terms, now_s: float) -> Priced | Result:
    """Return what a prediction comes to at that price, or why it comes to nothing."""
    if quote.fresh_until_s - now_s > _MOST_FRESH * quote.ttl_s:
        return "fresh"
    prediction = scored.prediction
    chance = Chance(
        probability=scored.probability,
        horizon_s=prediction.until_s - now_s,
        due_in_s=prediction.due_at_s - now_s,
        is_dated=prediction.predictor in _DATED,
        is_recurring=prediction.predictor in _RECURRING,
    )
    choice = best(chance, quote, level=prediction.level, wait_value_nanousd=terms.wait_value_nanousd)
    return "not_worth" if choice is None else Priced(scored=scored, quote=quote, choice=choice)


def choose(learner: Learner, found: Sequence[Priced], terms: Terms, *, now_s: float, salt: str) -> Chosen:
    """Go through what is worth it by value per dollar, and take what the judges, the budget and admission let pass."""
    picks: list[Priced] = []
    left_out: list[tuple[Priced, Result]] = []
    budget = left(terms, learner.learnt.spent, now_s)
    names: set[str] = set()
    for one in sorted(found, key=lambda priced: -priced.choice.value):
        if one.name in names:
            continue
        names.add(one.name)
        if is_held_out(learner.tenant, one.quote.key, share=terms.holdout, salt=salt):
            left_out.append((one, "held_out"))
            continue
        reason = _hindrance(learner, one, budget, now_s)
        if reason is not None:
            left_out.append((one, reason))
            continue
        budget -= one.quote.bound_nanousd
        picks.append(one)
    return Chosen(picks=tuple(picks), left_out=tuple(left_out))


def _hindrance(learner: Learner, one: Priced, budget: int, now_s: float) -> Result | None:
    """Return why `one` may not be asked; a probe that may is counted."""
    judge = learner.judge(one.scored.prediction.predictor, one.choice.level)
    judge.wanted(one.choice.ratio)
    verdict = judge.verdict(now_s)
    if verdict == "watch":
        return "stopped"
    if one.quote.bound_nanousd > budget:
        return "no_budget"
    if not learner.learnt.admission.admits(one.quote.key, one.choice.probability, now_s):
        return "crowded_out"
    if verdict == "probe":
        judge.probed()
    return None
