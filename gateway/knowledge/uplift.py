"""What the learned arm gains in quality over a shuffle at the same cost, with its interval. Pure.

The shuffle is post-stratified: its mean quality per model, weighed by the learned arm's own shares, is what a random
mix at the learned arm's cost would have, whatever the shares that were really drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

Z95: Final = 1.96
LEAST: Final = 10.0
"""Labels of each model in either arm, below which there is no interval."""


@dataclass(slots=True)
class Sums:
    """Decayed sums over judged answers: weights, their squares, and qualities at their weights."""

    n: float = 0.0
    squares: float = 0.0
    total: float = 0.0

    def add(self, quality: float, weight: float) -> None:
        """Count one answer."""
        self.n += weight
        self.squares += weight * weight
        self.total += quality * weight

    @property
    def effective_n(self) -> float:
        """How many labels of weight 1 would tell as much (Kish, Survey Sampling, 1965)."""
        return self.n * self.n / self.squares if self.squares > 0 else 0.0

    @property
    def mean(self) -> float:
        """The mean quality, 0 of none."""
        return self.total / self.n if self.n > 0 else 0.0

    @property
    def error2(self) -> float:
        """The mean's squared standard error, at most: p (1 - p) bounds the variance of anything within [0, 1]."""
        n = self.effective_n
        smoothed = (self.mean * n + 1.0) / (n + 2.0)
        return smoothed * (1.0 - smoothed) / n if n > 0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplift:
    """The gain in mean quality, and its 95 % interval; `learned_n` and `control_n` are effective numbers of labels."""

    low: float
    gain: float
    high: float
    learned_n: float
    control_n: float


@dataclass(slots=True)
class Arms:
    """What both arms' judged answers add up to, by model group."""

    learned: dict[str, Sums] = field(default_factory=dict)
    control: dict[str, Sums] = field(default_factory=dict)

    def shares(self) -> Mapping[str, float]:
        """Return how the learned arm spreads requests over the groups."""
        whole = sum(sums.n for sums in self.learned.values())
        return {group: sums.n / whole for group, sums in self.learned.items()} if whole > 0 else {}

    def uplift(self) -> Uplift | None:
        """Return the gain over a shuffle at the same cost; None while a model has too few labels in either arm."""
        shares = self.shares()
        gain, error2, control_n = 0.0, 0.0, 0.0
        for group, share in shares.items():
            drawn = self.control.get(group, Sums())
            if share <= 0 or drawn.effective_n < LEAST:
                return None
            gain -= share * drawn.mean
            error2 += share * share * drawn.error2
            control_n += drawn.effective_n
        learned = _together(self.learned.values())
        if learned.effective_n < LEAST:
            return None
        gain += learned.mean
        width = Z95 * math.sqrt(error2 + learned.error2)
        return Uplift(
            low=gain - width,
            gain=gain,
            high=gain + width,
            learned_n=learned.effective_n,
            control_n=control_n,
        )


def _together(parts: Iterable[Sums]) -> Sums:
    whole = Sums()
    for sums in parts:
        whole.n += sums.n
        whole.squares += sums.squares
        whole.total += sums.total
    return whole
