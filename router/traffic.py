"""What this process knows of every deployment from the calls it made: the owner of breakers, limits and budget.

Must not choose, call or wait for anybody, nor read a clock.
"""

from __future__ import annotations

from router.breaker import Breakers
from router.deadlines import Deadlines, Limits, Measure
from router.errors import ProviderError
from router.limits import ConcurrencyLimits
from router.ports import BreakerHints
from router.retry_budget import RetryBudget
from router.types import ChatRequest, Deployment

_SLACK_S = 0.001
"""Timers may fire this much early by another clock's reading."""


class Traffic:
    """One per process. Its parts are public for the gateway's gauges; only the router changes them."""

    def __init__(self, limits: Limits, *, hints: BreakerHints | None = None) -> None:
        self._limits = limits
        self._held_until_s: dict[str, float] = {}
        self.breakers = Breakers(limits.breaker, hints=hints)
        self.places = ConcurrencyLimits(limits.concurrency)
        self.budget = RetryBudget(ratio=limits.retry_ratio, per_s=limits.retries_per_s)
        self.deadlines = Deadlines(limits)

    def held_s(self, deployment_id: str, now_s: float) -> float:
        """Return how long the deployment has asked to be left alone for, 0 for not."""
        left_s = self._held_until_s.get(deployment_id, 0.0) - now_s
        return left_s if left_s > _SLACK_S else 0.0

    def is_open(self, deployment_id: str, now_s: float) -> bool:
        """Say whether a call may go there now: not held off, breaker willing."""
        if self._held_until_s and self.held_s(deployment_id, now_s):
            return False
        return self.breakers.would_admit(deployment_id, now_s)

    def is_calm(self, deployment_id: str, now_s: float) -> bool:
        """Say whether the deployment can take part in a hedge: well, not held off, and with room to spare."""
        limits, breakers = self._limits, self.breakers
        if breakers.state(deployment_id) != "closed" or self.held_s(deployment_id, now_s):
            return False
        if breakers.failure_ratio(deployment_id, now_s) > limits.hedge_error_ratio:
            return False
        allowed = limits.hedge_busy_ratio * self.places.limit(deployment_id)
        return self.places.in_flight(deployment_id) <= allowed and not self.places.waiting(deployment_id)

    def succeeded(
        self, request: ChatRequest, deployment: Deployment, *, first_token_s: float, is_streamed: bool, now_s: float
    ) -> None:
        """Note a complete answer and how long its first token took (all of it, where it was not streamed)."""
        self.breakers.succeeded(deployment.id, now_s)
        if self.places.is_lowered(deployment.id):
            measure: Measure = "first_token" if is_streamed else "whole"
            median_s = self.deadlines.quantile(request, deployment, measure, 0.5, now_s)
            self.places.answered(deployment.id, first_token_s=first_token_s, median_s=median_s)

    def answered(self, deployment: Deployment, now_s: float) -> None:
        """Note that the deployment works, though the answer was refused or left half read."""
        if self.breakers.state(deployment.id) == "half_open":
            self.breakers.succeeded(deployment.id, now_s)
        else:
            self.breakers.abandoned(deployment.id)

    def failed(self, deployment: Deployment, error: ProviderError, *, started_s: float, now_s: float) -> None:
        """Note a failure that lies with the deployment."""
        self.breakers.failed(deployment.id, now_s, error.kind)
        if error.kind == "rate_limited":
            self.places.refused(deployment.id, started_s=started_s, now_s=now_s)
        if error.kind in ("rate_limited", "overloaded") and error.retry_after_s:
            self._held_until_s[deployment.id] = now_s + min(error.retry_after_s, self._limits.hold_off_s)
