"""Bounds how much load failures may add: one budget for retries, error fallbacks, resumed streams and hedges.

Must not know what is retried, wait, or read a clock. The shape is Finagle's and Linkerd's: a share of the requests of
the last seconds and a small allowance, so that a quiet gateway can retry at all.
"""

from __future__ import annotations

from router.windows import RecentCount


class RetryBudget:
    """Lets `ratio` of the last `seconds` of requests be repeated, and `per_s` more a second."""

    def __init__(self, *, ratio: float = 0.1, per_s: float = 1.0, seconds: int = 10) -> None:
        self._ratio = ratio
        self._allowance = per_s * seconds
        self._requests = RecentCount(seconds=seconds)
        self._taken = RecentCount(seconds=seconds)
        self.refused = 0

    def request(self, now_s: float) -> None:
        """Count a request, which pays for a share of a retry."""
        self._requests.add(now_s)

    def take(self, now_s: float) -> bool:
        """Take one repetition if the budget has it."""
        allowed = self._allowance + self._ratio * self._requests.move(now_s)
        if self._taken.move(now_s) + 1 > allowed:
            self.refused += 1
            return False
        self._taken.add(now_s)
        return True
