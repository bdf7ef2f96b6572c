"""What is known of one arm of a rollout in one window: counts and log-spaced histograms, added up over workers.

Integers under short names, so that workers add by HINCRBY and nobody's addition is lost. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.outcome import Outcome

STEP: Final = math.log(1.02)
"""Buckets are 2 % wide: a quantile or a mean read from them is right to 1 %."""
_CALLERS_MISTAKES: Final = frozenset({400, 401, 408, 413, 422})

Quantity = Literal["t", "f", "c", "q"]
"""Total ms, first token ms, cost in nano-dollars, quality in millionths."""


@dataclass(slots=True)
class Figures:
    """Counts by field name: `n` interactions, `e` errors, `t:17` those whose total time fell into bucket 17, …"""

    counts: Counter[str] = field(default_factory=Counter)

    @property
    def n(self) -> int:
        """Interactions."""
        return self.counts["n"]

    @property
    def errors(self) -> int:
        """Those that ended in an error that was not the caller's mistake."""
        return self.counts["e"]

    def add(self, outcome: Outcome) -> None:
        """Count one interaction. Times and costs only where a provider answered: a new version's cache is cold."""
        self.counts["n"] += 1
        if outcome.result == "error" and outcome.status not in _CALLERS_MISTAKES:
            self.counts["e"] += 1
        if outcome.result != "ok" or outcome.cache not in ("miss", "bypass"):
            return
        self.put("t", outcome.total_s * 1000.0)
        if outcome.first_token_s is not None:
            self.put("f", outcome.first_token_s * 1000.0)
        if outcome.cost_nanousd is not None:
            self.put("c", float(outcome.interaction_cost_nanousd or outcome.cost_nanousd))

    def put(self, quantity: Quantity, value: float) -> None:
        """Count one value; zero and less share the lowest bucket."""
        bucket = -1 if value <= 1.0 else round(math.log(value) / STEP)
        self.counts[f"{quantity}:{bucket}"] += 1

    def values(self, quantity: Quantity) -> tuple[tuple[float, int], ...]:
        """Return (value, how often), rising."""
        return tuple(sorted(self._values(quantity)))

    def _values(self, quantity: Quantity) -> Iterator[tuple[float, int]]:
        for name, count in self.counts.items():
            if name.startswith(f"{quantity}:"):
                bucket = int(name[2:])
                yield (0.0 if bucket < 0 else math.exp(bucket * STEP)), count


def read_figures(stored: Mapping[str, bytes]) -> Figures:
    """Return the figures of a Redis hash."""
    return Figures(Counter({name: int(count) for name, count in stored.items()}))


def quantile(values: tuple[tuple[float, int], ...], share: float) -> float:
    """Return the smallest value that at least `share` of all are not above; 0 where there are none."""
    wanted = share * sum(count for _, count in values)
    reached = 0
    for value, count in values:
        reached += count
        if reached >= wanted:
            return value
    return 0.0
