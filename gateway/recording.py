"""What one Outcome adds to which series: metrics as a pure function of it.

Must not import a metrics library: it is given a function that finds a series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.outcome import ANSWERING, Outcome
from gateway.series import (
    BUDGET_REASONS,
    ERROR_CODES,
    ERROR_TYPES,
    OTHER,
    KnownLabels,
    closed,
    lookups_of,
    operation_of,
)
from router.books import hedges_of
from router.types import AttemptRecord

NANO = 1e-9

Observe = Callable[[float], None]
_Key = tuple[str, ...]


class FindSeries(Protocol):
    """Return what adds to the counter, or observes in the histogram, of that name and label values."""

    def __call__(self, name: str, *labels: str) -> Observe: ...


@dataclass(frozen=True, slots=True)
class _Ended:
    """The children that every outcome touches, looked up once."""

    requests: Observe
    lookups: tuple[Observe, ...]
    overhead: Observe
    duration: Observe
    interaction: Observe | None
    interaction_cost: Observe | None


@dataclass(frozen=True, slots=True)
class _Provided:
    """The children of an outcome that called a provider."""

    cost: Observe
    unpriced: Observe
    input_tokens: Observe
    output_tokens: Observe
    cached_tokens: Observe
    first_token: Observe
    malformed_events: Observe


class OutcomeRecorder:
    """Adds outcomes to series; remembers which, for outcomes whose labels are all known."""

    def __init__(self, find: FindSeries, known: KnownLabels) -> None:
        self._child = find
        self._known = known
        self._ended: dict[_Key, _Ended] = {}
        self._provided: dict[_Key, _Provided] = {}
        self._reused: dict[_Key, tuple[Observe, Observe]] = {}
        self._attempts: dict[_Key, tuple[Observe, Observe]] = {}

    def record(self, outcome: Outcome) -> None:
        """Count one ended request: a function of the outcome alone, below 10 µs for a plain one."""
        key = (
            *(outcome.origin, outcome.route, outcome.routed_model, outcome.provider),
            *(outcome.cache, outcome.cache_tier, outcome.result, outcome.endpoint),
        )
        ended = self._ended.get(key) or self._find_ended(key)
        ended.requests(1)
        for lookup in ended.lookups:
            lookup(1)
        ended.overhead(outcome.overhead_s)
        ended.duration(outcome.total_s)
        if outcome.attempts:
            self._record_provider(outcome, key)
        elif (
            outcome.cache_tier != "none" and outcome.cache_key and outcome.cache != "miss" and outcome.cache != "bypass"
        ):
            saved, age_or_joined = self._reused.get(key) or self._find_reused(key)
            saved(outcome.saved_nanousd * NANO)
            age_or_joined(1 if outcome.cache == "joined" else outcome.age_s)
        if ended.interaction is not None and ended.interaction_cost is not None:
            ended.interaction(outcome.total_s)
            ended.interaction_cost(outcome.interaction_cost_nanousd * NANO)
        if outcome.arm:
            self._child("foreword_arm_requests", closed(outcome.route, self._known.routes), outcome.arm)(1)
        if outcome.error_code or outcome.error_type:
            self._record_error(outcome)

    def _record_error(self, outcome: Outcome) -> None:
        kind = closed(outcome.error_type, ERROR_TYPES)
        code = closed(outcome.error_code, ERROR_CODES)
        self._child("foreword_errors", kind, code, outcome.error_source or "gateway")(1)
        if outcome.error_code in BUDGET_REASONS and outcome.error_source == "gateway":
            policy = closed(outcome.policy, self._known.policies)
            self._child("foreword_budget_refusals", policy, outcome.error_code)(1)

    def _record_provider(self, outcome: Outcome, key: _Key) -> None:
        for attempt in outcome.attempts:
            self._record_attempt(attempt, outcome.endpoint)
        if len(outcome.attempts) > 1:
            self._record_hedges(outcome)
        provided = self._provided.get(key) or self._find_provided(key)
        if outcome.malformed_events:
            provided.malformed_events(outcome.malformed_events)
        usage = outcome.usage
        if usage.input_tokens or usage.output_tokens:
            provided.input_tokens(usage.input_tokens)
            provided.output_tokens(usage.output_tokens)
            if usage.cached_tokens:
                provided.cached_tokens(usage.cached_tokens)
        if outcome.first_token_s is not None:
            provided.first_token(outcome.first_token_s)
        if outcome.cost_nanousd is None:
            provided.unpriced(1)
        elif outcome.cost_nanousd:
            provided.cost(outcome.cost_nanousd * NANO)
            if outcome.policy in self._known.policies:
                self._child("foreword_budget_spent_usd", outcome.policy)(outcome.cost_nanousd * NANO)

    def _record_hedges(self, outcome: Outcome) -> None:
        for hedge in hedges_of(outcome.attempts):
            self._child("foreword_hedges", "won" if hedge.has_won else "lost")(1)
            self._child("foreword_hedge_cost_usd")((hedge.wasted_nanousd or 0) * NANO)

    def _record_attempt(self, attempt: AttemptRecord, endpoint: str) -> None:
        code = attempt.error_code or ""
        key = (endpoint, attempt.provider, attempt.group, attempt.reason, attempt.result, code)
        found = self._attempts.get(key)
        if found is None:
            provider = closed(attempt.provider, self._known.providers)
            model = closed(attempt.group, self._known.models)
            error = "" if attempt.result == "ok" else closed(code, ERROR_CODES)
            found = (
                self._child("foreword_attempts", provider, model, attempt.reason, attempt.result),
                self._child("gen_ai_client_operation_duration_seconds", operation_of(endpoint), provider, model, error),
            )
            if OTHER not in (provider, model, error):
                self._attempts[key] = found
        count, observe = found
        count(1)
        observe(attempt.ended_s - attempt.started_s)

    def _find_ended(self, key: _Key) -> _Ended:
        origin, raw_route, raw_model, _, cache, tier, result, raw_endpoint = key
        route = closed(raw_route, self._known.routes)
        model = closed(raw_model, self._known.models)
        endpoint = closed(raw_endpoint, self._known.endpoints)
        is_user = origin == "user" and raw_endpoint in ANSWERING
        found = _Ended(
            requests=self._child("foreword_requests", route, model, cache, result, origin),
            lookups=tuple(
                self._child("foreword_cache_lookups", *pair) for pair in lookups_of(raw_endpoint, cache, tier)
            ),
            overhead=self._child("foreword_overhead_seconds", cache),
            duration=self._child("foreword_request_duration_seconds", route, cache, origin),
            interaction=self._child("foreword_interaction_duration_seconds", endpoint, cache, result)
            if is_user
            else None,
            interaction_cost=self._child("foreword_interaction_cost_usd", endpoint) if is_user else None,
        )
        if self._may_keep(key):
            self._ended[key] = found
        return found

    def _find_provided(self, key: _Key) -> _Provided:
        origin, _, raw_model, raw_provider, _, _, _, endpoint = key
        model = closed(raw_model, self._known.models)
        provider = closed(raw_provider, self._known.providers)
        call = (operation_of(endpoint), provider, model)
        found = _Provided(
            cost=self._child("foreword_cost_usd", provider, model, origin),
            unpriced=self._child("foreword_unpriced_requests", model),
            input_tokens=self._child("gen_ai_client_token_usage", *call, "input"),
            output_tokens=self._child("gen_ai_client_token_usage", *call, "output"),
            cached_tokens=self._child("gen_ai_client_token_usage", *call, "cached"),
            first_token=self._child("gen_ai_server_time_to_first_token_seconds", *call),
            malformed_events=self._child("foreword_malformed_events", provider, model),
        )
        if self._may_keep(key):
            self._provided[key] = found
        return found

    def _find_reused(self, key: _Key) -> tuple[Observe, Observe]:
        origin, raw_route, raw_model, _, cache, tier, _, _ = key
        saved = self._child("foreword_saved_cost_usd", closed(raw_model, self._known.models), cache, origin)
        if cache == "joined":
            second = self._child("foreword_joined_requests", closed(raw_route, self._known.routes))
        else:
            second = self._child("foreword_cache_hit_age_seconds", tier)
        found = (saved, second)
        if self._may_keep(key):
            self._reused[key] = found
        return found

    def _may_keep(self, key: _Key) -> bool:
        """Only outcomes whose labels are all known are remembered: clients must not be able to grow the memory."""
        _, route, model, provider, _, _, _, endpoint = key
        known = self._known
        return (
            (not route or route in known.routes)
            and (not model or model in known.models)
            and (not provider or provider in known.providers)
            and endpoint in known.endpoints
        )
