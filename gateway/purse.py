"""What the warmer may spend on one warm, in advance: every call of it must fit, whatever it turns out to need.

The owner of that one sum. Must not know budgets, which it was taken from.
"""

from __future__ import annotations

from dataclasses import dataclass

from warmer.types import PredictorName


@dataclass(slots=True, kw_only=True)
class Purse:
    """Nano-dollars: what is `left` to be promised, and what was `spent`. Never below 0."""

    left_nanousd: int
    spent_nanousd: int = 0

    def take(self, most_nanousd: int) -> bool:
        """Promise the most that a call may cost; False, and nothing happens, where that is more than is left."""
        if most_nanousd > self.left_nanousd:
            return False
        self.left_nanousd -= most_nanousd
        return True

    def settle(self, most_nanousd: int, cost_nanousd: int | None) -> None:
        """End a call; an unknown cost is booked as the most it could be."""
        spent = most_nanousd if cost_nanousd is None else cost_nanousd
        self.left_nanousd += most_nanousd - spent
        self.spent_nanousd += spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """On whose account the warmer asks: which predictor's, out of which purse, at which service tier ("": standard).

    `wait_s` is what a caller would wait for this, as far as is known: the warmer's own wait says nothing of it.
    `most_output` bounds the tokens of each answer below what its caller allowed: it is the worst case that is debited.
    """

    predictor: PredictorName
    purse: Purse
    service_tier: str
    wait_s: float = 0.0
    most_output: int | None = None
