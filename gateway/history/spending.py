"""Spend, savings and hit rates over the ledger, by tenant, route, model or day. Pure; must not read or print."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gateway.outcome import Outcome

By = Literal["tenant", "route", "model", "day"]
_REUSED = frozenset({"hit", "semantic-hit", "stale", "joined"})


@dataclass(slots=True, kw_only=True)
class Spent:
    """One line of the report. Money in nano-dollars; `unpriced` answers are in no sum.

    `requests` are what users asked; `answers` are those that a cache or a provider gave, steps of pipelines included,
    of which `reused` came from a cache. `warming_nanousd` is the part of `cost_nanousd` that the warmer spent.
    """

    name: str
    requests: int = 0
    answers: int = 0
    reused: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanousd: int = 0
    saved_nanousd: int = 0
    warming_nanousd: int = 0
    unpriced: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of looked-up answers that came from a cache."""
        return self.reused / self.answers if self.answers else 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.requests += outcome.is_interaction
        self.failed += outcome.result == "error" and outcome.is_interaction
        if outcome.routed_model:
            self.answers += 1
            is_reused = outcome.cache in _REUSED
            self.reused += is_reused
            if not is_reused:  # a stored answer's tokens were paid once
                self.input_tokens += outcome.usage.input_tokens
                self.output_tokens += outcome.usage.output_tokens
        cost = outcome.cost_nanousd
        self.unpriced += cost is None
        self.cost_nanousd += cost or 0
        self.warming_nanousd += (cost or 0) if outcome.origin == "warmer" else 0
        self.saved_nanousd += outcome.saved_nanousd


class SpendReport:
    """Adds outcomes up by one name each; the one owner of the sums."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._lines: dict[str, Spent] = {}
        self.total = Spent(name="total")

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        name = _name(outcome, self._by)
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Spent(name=name)
        line.add(outcome)
        self.total.add(outcome)

    def lines(self) -> tuple[Spent, ...]:
        """Return the lines: days in order, everything else by what it cost."""
        if self._by == "day":
            return tuple(sorted(self._lines.values(), key=lambda line: line.name))
        return tuple(sorted(self._lines.values(), key=lambda line: (-line.cost_nanousd, line.name)))


def _name(outcome: Outcome, by: By) -> str:
    if by == "tenant":
        return outcome.tenant or "-"
    if by == "route":
        return f"{outcome.policy}/{outcome.route}" if outcome.route else "-"
    if by == "model":
        return outcome.routed_model or "-"
    return datetime.fromtimestamp(outcome.started_at, UTC).strftime("%Y-%m-%d")
