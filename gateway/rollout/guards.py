"""Whether the new version is worse than the old one by more than a guard allows, judged at any moment. Pure.

Error rates by exact sequences for proportions, costs and quality by those for means. A p95 is compared by the shares
of answers beyond the old version's 80th to 95th percentiles, the new version's times first divided by what it may be
slower: five times the evidence of the 95th alone, and zero where the whole tail has only moved by the margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.rollout.figures import Figures, Quantity, quantile
from gateway.rollout.sequential import Interval, mean, proportion
from policies.rules import GuardMetric, GuardRules

QUANTILES: Final = (0.80, 0.85, 0.90, 0.95)
MILLION: Final = 1e6

Verdict = Literal["failed", "too few", "within", "beyond"]
"""failed: worse, with the confidence asked for; within, beyond: the estimates, of which nothing is proven."""

_QUANTITIES: Final[Mapping[GuardMetric, Quantity]] = {
    "p95_total_ms": "t",
    "p95_first_token_ms": "f",
    "cost_usd": "c",
    "quality": "q",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a guard shows: the two versions' figures as the guard compares them, and what follows."""

    metric: GuardMetric
    verdict: Verdict
    new: float
    old: float
    new_n: int
    old_n: int


def read_guard(guard: GuardRules, new: Figures, old: Figures, *, alpha: float) -> Reading:
    """Compare two arms; errs with probability `alpha` at most over all the times it is asked."""
    if guard.metric == "error_rate":
        newer = proportion(new.errors, new.n, alpha=alpha / 2)
        older = proportion(old.errors, old.n, alpha=alpha / 2)
        return _reading(guard, newer, older, new.n, old.n, allowed=_allowed(guard, older.high, older.estimate))
    quantity = _QUANTITIES[guard.metric]
    new_values, old_values = new.values(quantity), old.values(quantity)
    new_n, old_n = _count(new_values), _count(old_values)
    if guard.metric == "quality":
        # Lower is worse: compare shortfalls.
        return _means(guard, _flipped(new_values), _flipped(old_values), alpha=alpha, unit=1.0)
    if guard.metric == "cost_usd":
        return _means(guard, new_values, old_values, alpha=alpha, unit=1e9)
    steps = [quantile(old_values, share) for share in QUANTILES]
    newer = _tail(_scaled(new_values, guard), steps, alpha=alpha / 2)
    older = _tail(old_values, steps, alpha=alpha / 2)
    verdict = _verdict(guard, new_n, newer.low > older.high, newer.estimate <= older.estimate)
    return Reading(
        metric=guard.metric,
        verdict=verdict,
        new=quantile(new_values, QUANTILES[-1]),
        old=quantile(old_values, QUANTILES[-1]),
        new_n=new_n,
        old_n=old_n,
    )


def _means(
    guard: GuardRules,
    new: tuple[tuple[float, int], ...],
    old: tuple[tuple[float, int], ...],
    *,
    alpha: float,
    unit: float,
) -> Reading:
    newer, older = _mean(new, alpha=alpha / 2, unit=unit), _mean(old, alpha=alpha / 2, unit=unit)
    allowed = _allowed(guard, older.high, older.estimate)
    return _reading(guard, newer, older, _count(new), _count(old), allowed=allowed)


def _reading(
    guard: GuardRules, new: Interval, old: Interval, new_n: int, old_n: int, *, allowed: tuple[float, float]
) -> Reading:
    most, expected = allowed
    verdict = _verdict(guard, new_n, new.low > most and old_n > 0, new.estimate <= expected)
    if guard.metric == "quality":
        return Reading(
            metric=guard.metric, verdict=verdict, new=1 - new.estimate, old=1 - old.estimate, new_n=new_n, old_n=old_n
        )
    return Reading(metric=guard.metric, verdict=verdict, new=new.estimate, old=old.estimate, new_n=new_n, old_n=old_n)


def _verdict(guard: GuardRules, n: int, is_worse: bool, is_within: bool) -> Verdict:
    if n < guard.min_n:
        return "too few"
    return "failed" if is_worse else "within" if is_within else "beyond"


def _allowed(guard: GuardRules, high: float, estimate: float) -> tuple[float, float]:
    """Return the most the new version's figure may be: beyond doubt, and by the estimates."""
    if guard.worse_by_rel is not None:
        return high * (1 + guard.worse_by_rel), estimate * (1 + guard.worse_by_rel)
    margin = guard.worse_by_abs or 0.0
    return high + margin, estimate + margin


def _scaled(values: tuple[tuple[float, int], ...], guard: GuardRules) -> tuple[tuple[float, int], ...]:
    """Take from the new version's times what they may be longer."""
    if guard.worse_by_rel is not None:
        return tuple((value / (1 + guard.worse_by_rel), count) for value, count in values)
    return tuple((value - (guard.worse_by_abs or 0.0), count) for value, count in values)


def _tail(values: tuple[tuple[float, int], ...], steps: list[float], *, alpha: float) -> Interval:
    """Return the interval for the mean share of `steps` that a value is beyond."""
    shares = tuple((sum(value > step for step in steps) / len(steps), count) for value, count in values)
    return _mean(shares, alpha=alpha, unit=1.0)


def _mean(values: tuple[tuple[float, int], ...], *, alpha: float, unit: float) -> Interval:
    n = _count(values)
    total = sum(value / unit * count for value, count in values)
    squares = sum((value / unit) ** 2 * count for value, count in values)
    return mean(n, total, squares, alpha=alpha)


def _flipped(values: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
    return tuple((max(0.0, 1.0 - value / MILLION), count) for value, count in values)


def _count(values: tuple[tuple[float, int], ...]) -> int:
    return sum(count for _, count in values)
