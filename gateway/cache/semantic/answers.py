"""What labels have shown of single answers: how they did, which questions they also answer, which they must not.

Values only; bounded, oldest first out. Must not know vectors, texts (questions are hashes here) or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.cache.semantic.logistic import Observation

MAX_ANSWERS: Final = 4096
"""Answers of a class that are remembered one by one; the pool remembers all of them together."""
_MAX_OBSERVATIONS: Final = 16
_MAX_QUESTIONS: Final = 32


class AnswerEvidence(msgspec.Struct, frozen=True, array_like=True):
    """One answer object. `observations` are (log odds then, right 0..1); `aliases` and `denied` hashes of questions."""

    observations: tuple[tuple[float, float], ...] = ()
    aliases: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[Observation, ...]:
        """The observations as the model wants them."""
        return tuple(Observation(log_odds=odds, right=right) for odds, right in self.observations)


NOTHING_KNOWN: Final = AnswerEvidence()


def remember(
    answers: Mapping[str, AnswerEvidence], answer_id: str, *, question: str, log_odds: float, right: float
) -> Mapping[str, AnswerEvidence]:
    """Return the answers after one label: an alias where it was right, a deny edge where it was wrong.

    The latest verdict on a question stands. Whoever was labelled last is forgotten last.
    """
    known = answers.get(answer_id, NOTHING_KNOWN)
    aliases = tuple(item for item in known.aliases if item != question)
    denied = tuple(item for item in known.denied if item != question)
    if right >= 0.5:
        aliases = (*aliases, question)[-_MAX_QUESTIONS:]
    else:
        denied = (*denied, question)[-_MAX_QUESTIONS:]
    observations = (*known.observations, (round(log_odds, 3), right))[-_MAX_OBSERVATIONS:]
    after = dict(answers)
    after.pop(answer_id, None)
    after[answer_id] = AnswerEvidence(observations=observations, aliases=aliases, denied=denied)
    if len(after) > MAX_ANSWERS:
        del after[next(iter(after))]
    return after
