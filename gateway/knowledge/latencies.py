"""How fast each model has answered this worker lately, for routes that bound it. Must not read the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from gateway.outcome import Outcome
from gateway.ports import Clock
from policies.evidence import Latency
from router.quantiles import Quantiles

LEAST: Final = 50
"""Fewer calls than this within ten minutes say nothing of a 95th percentile."""
Measure = Literal["first", "total"]


class Latencies:
    """Owner of this worker's figures by model group; 512 calls each, ten minutes at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quantiles = Quantiles()

    def record(self, outcome: Outcome) -> None:
        """Note what an answer took at its provider; waiting for a place or another attempt is not the model's."""
        if not outcome.attempts or outcome.result != "ok":
            return
        attempt, now = outcome.attempts[-1], self._clock.monotonic()
        group = attempt.group
        self._quantiles.add((group, "total"), attempt.ended_s - attempt.started_s, now)
        # A first token after another attempt, or from a call that another request began, was not waited for alone.
        if outcome.first_token_s is not None and len(outcome.attempts) == 1:
            self._quantiles.add((group, "first"), outcome.first_token_s, now)

    def of(self, groups: Iterable[str]) -> Mapping[str, Latency]:
        """Return the figures of those groups that have any."""
        found = {
            group: Latency(p95_first_token_ms=self._ms(group, "first"), p95_total_ms=self._ms(group, "total"))
            for group in groups
        }
        return {group: latency for group, latency in found.items() if latency != Latency()}

    def _ms(self, group: str, measure: Measure) -> float | None:
        seconds = self._quantiles.quantile((group, measure), 0.95, self._clock.monotonic(), at_least=LEAST)
        return None if seconds is None else seconds * 1000.0
