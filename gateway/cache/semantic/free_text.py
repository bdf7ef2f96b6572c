"""When two free-text answers say the same: a cut on their cosine, learned from answers to one question and to two.

Pure, values only. Must not embed: whoever has the vectors gives the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BINS: Final = 50
_ENOUGH: Final = 50
_SAME_MISSED: Final = 0.03
"""Share of answers to one and the same question that may fall below the upper cut, into the grey band or under it."""
_NONE: Final = (0,) * _BINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Answers at or above `same` say the same, below `different` they do not; between lies the grey band."""

    same: float
    different: float


UNMEASURED: Final = Band(same=0.92, different=0.7)
"""Until both kinds of pairs have been seen 50 times; wide, so that a judge or nobody decides most of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarities:
    """Cosines seen, in 50 bins from 0 to 1: of two answers to one question, and of answers to unrelated questions."""

    same_question: tuple[int, ...] = _NONE
    strangers: tuple[int, ...] = _NONE

    def with_pair(self, similarity: float | None, stranger: float | None) -> Similarities:
        """Return the counts with one more of each that is given."""
        return Similarities(
            same_question=_plus_one(self.same_question, similarity), strangers=_plus_one(self.strangers, stranger)
        )

    def band(self) -> Band:
        """Return the calibrated band.

        All but 3 % of the answers to one question lie above `different`; no stranger has been seen above `same`.
        """
        if sum(self.same_question) < _ENOUGH or sum(self.strangers) < _ENOUGH:
            return UNMEASURED
        low = _quantile(self.same_question, _SAME_MISSED)
        highest_stranger = (max(at for at, count in enumerate(self.strangers) if count) + 1) / _BINS
        different = min(low, UNMEASURED.same)
        return Band(same=max(different, min(1.0, highest_stranger)), different=different)


def _plus_one(counts: tuple[int, ...], cosine: float | None) -> tuple[int, ...]:
    if cosine is None:
        return counts
    at = min(_BINS - 1, max(0, int(cosine * _BINS)))
    return (*counts[:at], counts[at] + 1, *counts[at + 1 :])


def _quantile(counts: tuple[int, ...], share: float) -> float:
    """Return the lower edge of the bin in which the lowest `share` of the counts ends."""
    below = 0
    for at, count in enumerate(counts):
        below += count
        if below > share * sum(counts):
            return at / _BINS
    return 1.0
