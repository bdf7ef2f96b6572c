"""What a request's answer says of budgets and limits, collected while it is served. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Spending:
    """One request's part of budgets and limits; empty where nothing limits it.

    `limits` by unit (`requests`, `tokens`): (limit, remaining, Unix time of the reset), of the tightest one.
    """

    limits: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    budget_remaining_nanousd: int | None = None

    def headers(self, *, now: float) -> dict[str, str]:
        """Return `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` and `x-foreword-budget-remaining-usd`."""
        named: dict[str, str] = {}
        for unit, (limit, remaining, resets_at) in self.limits.items():
            named[f"x-ratelimit-limit-{unit}"] = str(limit)
            named[f"x-ratelimit-remaining-{unit}"] = str(remaining)
            named[f"x-ratelimit-reset-{unit}"] = f"{max(0.0, resets_at - now):.3f}s"
        if self.budget_remaining_nanousd is not None:
            named["x-foreword-budget-remaining-usd"] = f"{self.budget_remaining_nanousd / 1e9:.9f}"
        return named
