"""How long each part of an answer may take: settings, and the limits learnt from how long answers took lately.

Must not wait or read a clock. The request's own deadline is its caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.breaker import DEFAULT_BREAKER, BreakerRules
from router.limits import DEFAULT_CONCURRENCY, ConcurrencyRules
from router.quantiles import Quantiles
from router.types import ChatRequest, Deployment

Measure = Literal["first_token", "whole"]
Key = tuple[str, str, int, Measure]
_BUCKET_BYTES = 4096
_LAST_BUCKET = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait for what (seconds), how often to try, how much to hold. The backend bounds connecting (5 s).

    First token of a stream: `first_token_ratio` × the rolling p95 of the model and prompt size, between
    `first_token_floor_s` and `first_token_cap_s`; below `cold_samples` samples `cold_first_token_s` while the plan has
    somewhere else to go, else `last_first_token_s`; `reasoning_…` and twice the cap for reasoning models.
    A deployment whose entry states a time (`stream_timeout`, `timeout`) has that instead, whatever was learnt.
    Unstreamed answers: the same ratio of the p95 of total time, at least `whole_floor_s`, `cold_whole_s` while cold;
    with nowhere else to go at least `last_whole_s`.
    `gap_s`: between two events of a stream. `drip_window_s`: a stream that answers less than `drip_bytes_per_s`
    over so long is given up. `tail_s`: for usage and `[DONE]` after the last finish reason. `drain_s`: for the end
    of the body after `[DONE]`, without which the connection cannot be used again. `patience_s`: the longest
    Retry-After or queue that is waited for while the plan has somewhere else to go. `hold_off_s`: the longest
    Retry-After that is kept for other requests. `backoff_s`: the longest jittered pause before a retry.
    `max_attempts`: of one request. `max_held_bytes`: of an answer that is delivered only when complete, and of text
    kept to resume a stream.
    `retry_ratio` of the last 10 s of requests, and `retries_per_s` more, may be repeated.
    Hedges need `hedge_samples` first tokens to learn from, and deployments that use at most `hedge_busy_ratio` of their
    limit and fail at most `hedge_error_ratio`; their own budget looks `hedge_window_s` back.
    """

    first_token_ratio: float = 3.0
    first_token_floor_s: float = 2.0
    first_token_cap_s: float = 60.0
    cold_samples: int = 50
    cold_first_token_s: float = 10.0
    last_first_token_s: float = 60.0
    reasoning_first_token_s: float = 60.0
    reasoning_last_first_token_s: float = 120.0
    whole_floor_s: float = 10.0
    cold_whole_s: float = 60.0
    last_whole_s: float = 120.0
    gap_s: float = 15.0
    drip_window_s: float = 30.0
    drip_bytes_per_s: float = 1.0
    tail_s: float = 1.0
    drain_s: float = 0.05
    patience_s: float = 2.0
    hold_off_s: float = 30.0
    backoff_s: float = 0.25
    max_attempts: int = 6
    max_held_bytes: int = 8 * 1024 * 1024
    retry_ratio: float = 0.1
    retries_per_s: float = 1.0
    hedge_samples: int = 200
    hedge_busy_ratio: float = 0.7
    hedge_error_ratio: float = 0.05
    hedge_window_s: int = 600
    breaker: BreakerRules = DEFAULT_BREAKER
    concurrency: ConcurrencyRules = DEFAULT_CONCURRENCY


DEFAULT_LIMITS = Limits()


class Deadlines:
    """Turns measured times into limits. The owner of the measurements; they are this process's alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._quantiles = Quantiles()

    def first_token_s(self, request: ChatRequest, deployment: Deployment, now_s: float, *, is_last: bool) -> float:
        """Return how long a stream's first token may take; `is_last`: the plan has nowhere else to go."""
        if deployment.stream_timeout_s is not None:
            return deployment.stream_timeout_s
        limits = self._limits
        p95_s = self.quantile(request, deployment, "first_token", 0.95, now_s, at_least=limits.cold_samples)
        if p95_s is None:
            if _thinks(request, deployment):
                return limits.reasoning_last_first_token_s if is_last else limits.reasoning_first_token_s
            return limits.last_first_token_s if is_last else limits.cold_first_token_s
        cap_s = limits.first_token_cap_s * (2 if _thinks(request, deployment) else 1)
        return min(max(limits.first_token_floor_s, limits.first_token_ratio * p95_s), cap_s)

    def whole_s(self, request: ChatRequest, deployment: Deployment, now_s: float, *, is_last: bool) -> float:
        """Return how long an unstreamed answer may take."""
        if deployment.timeout_s is not None:
            return deployment.timeout_s
        limits = self._limits
        p95_s = self.quantile(request, deployment, "whole", 0.95, now_s, at_least=limits.cold_samples)
        learnt_s = limits.cold_whole_s if p95_s is None else max(limits.whole_floor_s, limits.first_token_ratio * p95_s)
        return max(learnt_s, limits.last_whole_s) if is_last else learnt_s

    def hedge_after_s(self, request: ChatRequest, deployment: Deployment, share: float, now_s: float) -> float | None:
        """Return when a first token is so late that it may be raced, None while too few are known."""
        at_least = self._limits.hedge_samples
        return self.quantile(request, deployment, "first_token", share, now_s, at_least=at_least)

    def quantile(
        self,
        request: ChatRequest,
        deployment: Deployment,
        measure: Measure,
        share: float,
        now_s: float,
        *,
        at_least: int = 1,
    ) -> float | None:
        """Return a rolling quantile in seconds, None below `at_least` samples."""
        return self._quantiles.quantile(_key(request, deployment, measure), share, now_s, at_least=at_least)

    def took(
        self, request: ChatRequest, deployment: Deployment, measure: Measure, seconds: float, now_s: float
    ) -> None:
        """Note how long it took. One that was given up counts with its limit, so that limits follow a provider that
        has become slow instead of ending all its answers for ever."""
        self._quantiles.add(_key(request, deployment, measure), seconds, now_s)


def _thinks(request: ChatRequest, deployment: Deployment) -> bool:
    return deployment.is_reasoning or "thinking" in request.document or "reasoning_effort" in request.document


def _key(request: ChatRequest, deployment: Deployment, measure: Measure) -> Key:
    """Bodies of less than 4 KiB, 8 KiB, 16 KiB … share their measurements."""
    bucket = min((len(request.body) // _BUCKET_BYTES).bit_length(), _LAST_BUCKET)
    return (deployment.provider, deployment.model, bucket, measure)
