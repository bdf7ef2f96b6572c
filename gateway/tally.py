"""Plain-Python sums in front of the shared metric files: adding costs a tenth, and is handed on in batches.

Must not know which metrics there are, nor the library that publishes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol


class Adds(Protocol):
    """One figure of the library's."""

    def inc(self, amount: float, /) -> None: ...


class Count:
    """What a counter has gained since it was last drained into `publish(amount)`."""

    __slots__ = ("_gained", "_publish")

    def __init__(self, publish: Callable[[float], None]) -> None:
        self._gained = 0.0
        self._publish = publish

    def add(self, amount: float) -> None:
        """Count `amount`, which is not negative."""
        self._gained += amount

    def drain(self) -> None:
        """Hand on what was gained, if anything."""
        if self._gained:
            gained, self._gained = self._gained, 0.0
            self._publish(gained)


class Spread:
    """What a histogram has seen since it was last drained.

    `bounds` are the buckets' upper bounds, ascending, without infinity. `publish(counts, total)` takes how many values
    fell into each bucket (one more than bounds, not cumulative) and their sum.
    """

    __slots__ = ("_bounds", "_counts", "_publish", "_seen", "_total")

    def __init__(self, bounds: Sequence[float], publish: Callable[[Sequence[int], float], None]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._publish = publish
        self._seen = False
        self._total = 0.0

    def add(self, value: float) -> None:
        """Observe `value`; a bound itself belongs to the bucket below it (Prometheus `le`)."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value
        self._seen = True

    def drain(self) -> None:
        """Hand on what was seen, if anything."""
        if self._seen:
            counts, total = self._counts, self._total
            self._counts, self._total, self._seen = [0] * len(counts), 0.0, False
            self._publish(counts, total)


def adding_to(buckets: Sequence[Adds], total: Adds) -> Callable[[Sequence[int], float], None]:
    """Return a Spread's `publish` that adds to one figure a bucket and to the sum of the values."""

    def publish(counts: Sequence[int], gained: float) -> None:
        for bucket, count in zip(buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        total.inc(gained)

    return publish
