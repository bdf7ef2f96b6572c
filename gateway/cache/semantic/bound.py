"""How many of the hits above a cut may be wrong, with 95 % confidence at every moment, from labels that err themselves.

Pure arithmetic on counts. Must not know what a class, a cut or a clock is.

A label says 0 (same answer) to 1 (different). For a fixed number r > 0 and labels X with conditional means t1, t2, ...
the product of r**X / (1 - t (1 - r)) is a supermartingale that starts at 1 (r**x <= 1 - x (1 - r) on [0, 1]), and by
the concavity of log it stays above r**S / (1 - t (1 - r))**n, S the sum of n labels and t the *running average* of
their means. So that number, mixed over a fixed grid of r, exceeds 1/a at any time with probability a at most, whatever
the order, the peeking and the drift of the means (Ville; the betting view of Waudby-Smith and Ramdas, arXiv:2010.09686,
with fixed bets so that counts are all it needs; time-varying means as in Howard et al., arXiv:1810.08240).

Above a cut lie two strata: what is served today (a sample of it is labelled) and what is not (all of it is: the answer
was made anyway). Their averages are weighed by what each is of the traffic, so that no label is ever weighed by 1/p.
Within a stratum labels of every age count alike, which is right while pairs of one score stay what they were within the
window; where they do not, drift.py sounds the alarm. A right pair is called different with an unknown probability f,
which asking the same question twice measures: the e-values of both strata and of those samples are multiplied (the
product of e-processes that move one at a time is one), and the smallest over f and over all ways to split the errors
between the strata counts. That is the correction for noise with its uncertainty: no floor is taken off that the samples
do not bear out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ALPHA: Final = 0.05
FALSE_SAME: Final = 0.01
"""Most of the wrong pairs that comparators are taken to call right: it cannot be measured by asking twice."""

_SAFER: Final = np.array([0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.82])
"""Bets that a rate is lower, as odds ratios. 0 does not survive an error: with it, clean labels alone prove much."""
_SAFER_PRIOR: Final = np.array([0.1, 0.1, 0.15, 0.15, 0.2, 0.2, 0.1])
_NOISIER: Final = np.array([1.12, 1.25, 1.5, 2.2])
_NOISIER_PRIOR: Final = np.full(4, 0.25)
_FLOORS: Final = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.4])
_SPLITS: Final = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """`labels`, and the sum of what they said: `wrong` of them (fractions included) called the answers different."""

    labels: int = 0
    wrong: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The pairs of a range of scores: how many there were, and what the labelled ones of them said."""

    pairs: int
    seen: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the pairs above one cut; `floor` are verdicts on the same question asked twice."""

    served: Stratum
    withheld: Stratum
    floor: Counts


def log_evidence(evidence: Evidence, wrong_rate: float) -> float:
    """Return the log e-value against "at least `wrong_rate` of the pairs above the cut would get a wrong answer".

    >= log(1/a) rejects that at level a, at any time.
    """
    pairs = evidence.served.pairs + evidence.withheld.pairs
    if not pairs:
        return 0.0
    floors = _rate(evidence.floor) * _FLOORS if evidence.floor.wrong else np.zeros(1)
    scale = 1.0 - floors - FALSE_SAME
    total = _log_mixture(evidence.floor, floors, _NOISIER, _NOISIER_PRIOR)[:, None]
    rates = _splits(wrong_rate, evidence.served.pairs / pairs)
    for stratum, wrong in zip((evidence.served, evidence.withheld), rates, strict=True):
        called = floors[:, None] + scale[:, None] * wrong[None, :]
        total = total + _log_mixture(stratum.seen, called, _SAFER, _SAFER_PRIOR)
    return float(np.min(total))


def upper_bound(evidence: Evidence, *, alpha: float = ALPHA) -> float:
    """Return the smallest wrong rate that is rejected at `alpha`: the one-sided upper confidence bound, 1 where none
    is."""
    need = math.log(1 / alpha)
    low, high = 0.0, 1.0
    if log_evidence(evidence, 0.999) < need:
        return 1.0
    for _ in range(14):
        middle = (low + high) / 2
        if log_evidence(evidence, middle) >= need:
            high = middle
        else:
            low = middle
    return high


def estimate(evidence: Evidence) -> float:
    """Return the share of wrong answers above the cut with the floor taken off: a best guess without a promise."""
    pairs = evidence.served.pairs + evidence.withheld.pairs
    if not pairs:
        return 0.0
    called = sum(stratum.pairs * _rate(stratum.seen) for stratum in (evidence.served, evidence.withheld)) / pairs
    floor = _rate(evidence.floor)
    return max(0.0, (called - floor) / (1 - floor - FALSE_SAME))


def floor_samples_wanted(floor: Counts, wrong_rate: float) -> int:
    """Return how many same-question samples keep the floor's own error (two sigma) within a third of it.

    By a floor one sigma above what was seen: few errors among the first would end the sampling, and stay.
    """
    rate = (floor.wrong + 1 + math.sqrt(floor.wrong + 1)) / (floor.labels + 2) if floor.labels >= 50 else 0.03
    return math.ceil(36 * rate * (1 - rate) / wrong_rate**2)


def _rate(counts: Counts) -> float:
    return counts.wrong / counts.labels if counts.labels else 0.0


def _splits(wrong_rate: float, served: float) -> tuple[Floats, Floats]:
    """Return wrong rates (served, withheld) whose average is `wrong_rate`: each pair one way to split it."""
    if served in {0.0, 1.0}:
        only = np.array([wrong_rate])
        return (only, np.zeros(1)) if served else (np.zeros(1), only)
    lowest, highest = max(0.0, wrong_rate - (1 - served)) / served, min(1.0, wrong_rate / served)
    in_served = lowest + _SPLITS * (highest - lowest)
    return in_served, np.clip((wrong_rate - served * in_served) / (1 - served), 0.0, 1.0)


def _log_mixture(counts: Counts, means: Floats, bets: Floats, prior: Floats) -> Floats:
    """Return the log of the mixed e-values of `counts` against each of `means`; the shape of `means`."""
    if not counts.labels:
        return np.zeros(means.shape)
    with np.errstate(divide="ignore"):
        won = np.where(bets > 0, counts.wrong * np.log(np.where(bets > 0, bets, 1.0)), -np.inf if counts.wrong else 0.0)
        each = np.log(prior) + won - counts.labels * np.log1p(-means[..., None] * (1 - bets))
    highest = each.max(axis=-1)
    # A mean of 1 under a bet of 0 is infinite evidence, as it should be.
    safe = np.where(np.isfinite(highest), highest, 0.0)
    mixed: Floats = np.where(np.isfinite(highest), safe + np.log(np.exp(each - safe[..., None]).sum(axis=-1)), highest)
    return mixed
