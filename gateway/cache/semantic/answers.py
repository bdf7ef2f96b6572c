"""What labels have shown of single answers: how they did, which questions they also answer, which they must not.

Values only; bounded, oldest first out. Must not know vectors, texts (questions are hashes here) or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.cache.semantic.events import Verdict
from gateway.cache.semantic.logistic import Observation

MAX_ANSWERS: Final = 4096
"""Answers of a class that are remembered one by one; the pool remembers all of them together."""
_MAX_OBSERVATIONS: Final = 16
_MAX_QUESTIONS: Final = 32


class AnswerEvidence(msgspec.Struct, frozen=True, array_like=True):
    """One answer object. `observations` are (log odds then, right 0..1); the rest are hashes of questions.

    `aliases` and `denied` are what labels showed, `affirmed` and `refuted` what a verifier said.
    """

    observations: tuple[tuple[float, float], ...] = ()
    aliases: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    affirmed: tuple[str, ...] = ()
    refuted: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[Observation, ...]:
        """The observations as the model wants them."""
        return tuple(Observation(log_odds=odds, right=right) for odds, right in self.observations)

    def verdict_on(self, question: str) -> Verdict | None:
        """Return what a verifier said of a question, None where nobody asked or nothing came of it."""
        return "same" if question in self.affirmed else "different" if question in self.refuted else None


NOTHING_KNOWN: Final = AnswerEvidence()


def remember(
    answers: Mapping[str, AnswerEvidence], answer_id: str, *, question: str, log_odds: float, right: float
) -> Mapping[str, AnswerEvidence]:
    """Return the answers after one label: an alias where it was right, a deny edge where it was wrong.

    The latest verdict on a question stands. Whoever was labelled last is forgotten last.
    """
    known = answers.get(answer_id, NOTHING_KNOWN)
    aliases, denied = _settled(known.aliases, known.denied, question, is_first=right >= 0.5)
    observations = (*known.observations, (round(log_odds, 3), right))[-_MAX_OBSERVATIONS:]
    return _with(
        answers, answer_id, msgspec.structs.replace(known, observations=observations, aliases=aliases, denied=denied)
    )


def remember_verdict(
    answers: Mapping[str, AnswerEvidence], answer_id: str, *, question: str, is_same: bool
) -> Mapping[str, AnswerEvidence]:
    """Return the answers after a verifier's word on one question; its latest word stands."""
    known = answers.get(answer_id, NOTHING_KNOWN)
    affirmed, refuted = _settled(known.affirmed, known.refuted, question, is_first=is_same)
    return _with(answers, answer_id, msgspec.structs.replace(known, affirmed=affirmed, refuted=refuted))


def _settled(
    first: tuple[str, ...], second: tuple[str, ...], question: str, *, is_first: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return both lists with the question in one of them alone."""
    first, second = (tuple(item for item in side if item != question) for side in (first, second))
    if is_first:
        return (*first, question)[-_MAX_QUESTIONS:], second
    return first, (*second, question)[-_MAX_QUESTIONS:]


def _with(answers: Mapping[str, AnswerEvidence], answer_id: str, known: AnswerEvidence) -> Mapping[str, AnswerEvidence]:
    after = dict(answers)
    after.pop(answer_id, None)
    after[answer_id] = known
    if len(after) > MAX_ANSWERS:
        del after[next(iter(after))]
    return after
