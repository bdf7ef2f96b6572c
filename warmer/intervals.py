"""Intervals for shares, differences of shares, and sums over keys, from counts alone. Must not keep samples.

Wilson, Probable inference (1927); Newcombe, Interval estimation for the difference between independent proportions
(1998), method 10; the Poisson bootstrap: Chamandy et al., Estimating uncertainty for massive data streams (2012).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

Z_95 = 1.959964
Z_80 = 1.281552
"""Two-sided 80 %: a one-sided bound at 90 %."""
REPLICAS = 200
_MOST_WAITING = 256


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and its 95 % interval; `n` is how many it rests on. Bounds are None where nothing can be said."""

    value: float
    low: float | None
    high: float | None
    n: float = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds as numbers, infinite where nothing can be said."""
        return (
            -math.inf if self.low is None else self.low,
            math.inf if self.high is None else self.high,
        )


def wilson(successes: float, n: float, *, z: float = Z_95) -> Interval:
    """Return a share with its score interval; counts may be decayed ones."""
    if n <= 0:
        return Interval(value=0.0, low=0.0, high=1.0)
    share = min(1.0, successes / n)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half), n=n)


def difference(first: Interval, second: Interval) -> Interval:
    """Return first - second of two independent shares, by Newcombe's hybrid of their score intervals."""
    value = first.value - second.value
    (first_low, first_high), (second_low, second_high) = first.bounds, second.bounds
    below = math.hypot(first.value - first_low, second_high - second.value)
    above = math.hypot(first_high - first.value, second.value - second_low)
    n = min(first.n, second.n)
    return Interval(value=value, low=max(-1.0, value - below), high=min(1.0, value + above), n=n)


@lru_cache(maxsize=4096)
def poisson_weights(cluster: str) -> bytes:
    """Return how often the cluster is in each of REPLICAS bootstrap samples; the same for the same cluster always."""
    digest = hashlib.shake_128(cluster.encode()).digest(2 * REPLICAS)
    return bytes(
        _poisson(int.from_bytes(digest[place : place + 2], "little") / 65536) for place in range(0, len(digest), 2)
    )


def _poisson(uniform: float) -> int:
    count, term = 0, math.exp(-1.0)
    below = term
    while uniform >= below and count < 8:
        count += 1
        term /= count
        below += term
    return count


class Sums(msgspec.Struct, kw_only=True):
    """Named sums over a stream, in each of the bootstrap's samples too. What belongs to one cluster goes in or out
    as a whole, so that repeats of one key do not count as independent. `waiting` are not in the samples yet."""

    total: dict[str, float] = msgspec.field(default_factory=dict)
    replicas: dict[str, list[float]] = msgspec.field(default_factory=dict)
    waiting: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)

    def add(self, cluster: str, **amounts: float) -> None:
        """Add to each sum what it gets."""
        own = self.waiting.setdefault(cluster, {})
        for name, amount in amounts.items():
            if amount:
                self.total[name] = self.total.get(name, 0.0) + amount
                own[name] = own.get(name, 0.0) + amount
        if len(self.waiting) > _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Bring the samples up to date."""
        for cluster, amounts in self.waiting.items():
            weights = poisson_weights(cluster)
            for name, amount in amounts.items():
                sums = self.replicas.get(name) or [0.0] * REPLICAS
                self.replicas[name] = [one + amount * weight for one, weight in zip(sums, weights, strict=True)]
        self.waiting = {}

    def include(self, other: Sums) -> None:
        """Add another stream's sums; the same cluster has the same weights in both."""
        other.flush()
        for name, amount in other.total.items():
            self.total[name] = self.total.get(name, 0.0) + amount
            sums = self.replicas.get(name) or [0.0] * REPLICAS
            theirs = other.replicas.get(name) or [0.0] * REPLICAS
            self.replicas[name] = [one + more for one, more in zip(sums, theirs, strict=True)]

    def estimate(self, figure: Callable[[Callable[[str], float]], float | None]) -> Interval:
        """Return what `figure` makes of the sums; it gets a look-up by name, and gives None where it says nothing."""
        self.flush()
        value = figure(lambda name: self.total.get(name, 0.0))
        found = [one for one in (figure(self._of(place)) for place in range(REPLICAS)) if one is not None]
        if value is None or len(found) < REPLICAS // 2:
            return Interval(value=value or 0.0, low=None, high=None)
        low, high = percentiles(found)
        return Interval(value=value, low=low, high=high, n=len(found))

    def _of(self, place: int) -> Callable[[str], float]:
        return lambda name: self.replicas[name][place] if name in self.replicas else 0.0


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile."""
    ordered = sorted(values)
    return ordered[int(0.025 * (len(ordered) - 1))], ordered[math.ceil(0.975 * (len(ordered) - 1))]
