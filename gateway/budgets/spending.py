"""What a request's answer says of budgets and limits, collected while it is served. Decides nothing."""

from __future__ import annotations

import msgspec

from gateway.dollars import usd

Left = tuple[str, int, float]
"""Of a limit: itself as text, what remains of it, the Unix time when it is reset."""


class Spending(msgspec.Struct, eq=False):
    """One request's part of budgets and limits, of the tightest one of each unit; empty where nothing limits it."""

    requests: Left | None = None
    tokens: Left | None = None
    budget_remaining_nanousd: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether a limit on requests or tokens holds."""
        return self.requests is not None or self.tokens is not None

    def headers(self, *, now: float) -> dict[str, str]:
        """Return `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` and `x-foreword-budget-remaining-usd`."""
        named: dict[str, str] = {}
        reset, resets_at = "", 0.0
        if (told := self.requests) is not None:
            limit, remaining, resets_at = told
            reset = _wait(resets_at - now)
            named = {
                "x-ratelimit-limit-requests": limit,
                "x-ratelimit-remaining-requests": str(remaining),
                "x-ratelimit-reset-requests": reset,
            }
        if (told := self.tokens) is not None:
            limit, remaining, ends_at = told
            named["x-ratelimit-limit-tokens"] = limit
            named["x-ratelimit-remaining-tokens"] = str(remaining)
            # As a rule both count the same minute.
            named["x-ratelimit-reset-tokens"] = reset if ends_at == resets_at else _wait(ends_at - now)
        if (left := self.budget_remaining_nanousd) is not None:
            named["x-foreword-budget-remaining-usd"] = usd(left)
        return named


def _wait(left_s: float) -> str:
    return f"{left_s:.3f}s" if left_s > 0.0 else "0.000s"
