"""What warming spent and what was told from it, over the ledger, by predictor: plain sums, and pure.

No counterfactual: a hit of a warmed answer may be one that there would have been anyway. That is measured elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.outcome import Outcome
from warmer.types import PREDICTOR_NAMES

_TOLD = frozenset({"hit", "semantic-hit", "stale"})


@dataclass(slots=True, kw_only=True)
class Warmed:
    """One predictor's line. `calls` went to providers, `failed` of them gave no answer; `hits` were told from answers
    that it had had made, steps of pipelines each. Money in nano-dollars; `unpriced` calls are in no sum."""

    name: str
    calls: int = 0
    failed: int = 0
    unpriced: int = 0
    simulated: int = 0
    cost_nanousd: int = 0
    hits: int = 0
    saved_nanousd: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome that has to do with warming."""
        if outcome.origin == "warmer":
            self.calls += 1
            self.failed += outcome.result != "ok"
            self.unpriced += outcome.cost_nanousd is None
            self.simulated += outcome.is_simulated
            self.cost_nanousd += outcome.cost_nanousd or 0
        else:
            self.hits += 1
            self.saved_nanousd += outcome.saved_nanousd


class WarmingAccount:
    """The owner of these sums."""

    def __init__(self) -> None:
        self._lines: dict[str, Warmed] = {}
        self.total = Warmed(name="all")

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, if it has to do with warming. A run's own outcome holds no money: its steps' do."""
        name = outcome.warmed_by
        is_hit = outcome.origin in ("user", "pipeline") and outcome.cache in _TOLD and bool(name)
        is_call = outcome.origin == "warmer" and bool(outcome.attempts)
        if outcome.endpoint == "pipeline" or not (is_call or is_hit):
            return
        line = self._lines.setdefault(name or "unknown", Warmed(name=name or "unknown"))
        line.add(outcome)
        self.total.add(outcome)

    def line(self, name: str) -> Warmed:
        """Return a predictor's line, an empty one where nothing was counted."""
        return self._lines.get(name, Warmed(name=name))

    def lines(self) -> tuple[Warmed, ...]:
        """Return the lines of all that did anything, in the order in which predictors are always named."""
        known = [name for name in PREDICTOR_NAMES if name in self._lines]
        others = sorted(name for name in self._lines if name not in PREDICTOR_NAMES)
        return tuple(self._lines[name] for name in (*known, *others))
