"""Confidence sequences: intervals that hold at every moment at once, so that looking often raises no false alarm. Pure.

Proportions: the beta-binomial mixture of Robbins (Ann. Math. Stat. 41, 1970), exact at any sample size. Means: the
asymptotic sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (arXiv:2103.06476), from a few hundred on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PRIOR: Final = 0.5
"""Both parameters of the mixture's beta prior (Jeffreys)."""
TIGHTEST_AT: Final = 1000
"""The sample size at which the sequence for means is tightest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the true value is, with the confidence asked for, now and at every other moment."""

    low: float
    estimate: float
    high: float


def proportion(successes: int, n: int, *, alpha: float) -> Interval:
    """Return the interval for a proportion; [0, 1] before the first observation. Two-sided, error `alpha` in all."""
    if n == 0:
        return Interval(low=0.0, estimate=0.0, high=1.0)
    failures = n - successes
    mixture = _log_beta(PRIOR + successes, PRIOR + failures) - _log_beta(PRIOR, PRIOR)
    least = mixture + math.log(alpha)

    def is_inside(p: float) -> bool:
        likelihood = 0.0
        if successes:
            likelihood += successes * math.log(p)
        if failures:
            likelihood += failures * math.log1p(-p)
        return likelihood > least

    estimate = successes / n
    low = 0.0 if successes == 0 else _edge(is_inside, outside=1e-300, inside=estimate)
    high = 1.0 if failures == 0 else _edge(is_inside, outside=1.0 - 1e-16, inside=estimate)
    return Interval(low=low, estimate=estimate, high=high)


def mean(n: int, total: float, squares: float, *, alpha: float) -> Interval:
    """Return the interval for a mean from the count, the sum and the sum of squares; infinite below two values."""
    if n < 2:
        return Interval(low=-math.inf, estimate=total, high=math.inf)
    estimate = total / n
    variance = max(0.0, (squares - n * estimate * estimate) / (n - 1))
    width = math.sqrt(variance) * _half_width(n, alpha)
    return Interval(low=estimate - width, estimate=estimate, high=estimate + width)


def _half_width(n: int, alpha: float) -> float:
    """Theorem 2.2 of arXiv:2103.06476 in units of the standard deviation, with its rho for `TIGHTEST_AT`."""
    log_term = -2.0 * math.log(alpha)
    rho2 = (log_term + math.log(log_term + 1.0)) / TIGHTEST_AT
    scaled = n * rho2 + 1.0
    return math.sqrt(2.0 * scaled / (n * n * rho2) * math.log(math.sqrt(scaled) / alpha))


def _edge(is_inside: Callable[[float], bool], *, outside: float, inside: float) -> float:
    for _ in range(80):
        middle = (outside + inside) / 2.0
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
