"""The table of metric series and the closed sets of their labels, as plain data.

Must not import a metrics library, and must not name a label that a client can choose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import get_args

from gateway.announced.records import POSTINGS, RESULTS
from gateway.knowledge.labels import SOURCES
from gateway.outcome import ANSWERING, CacheStatus, Result, Source
from gateway.series_kinds import Distribution, Level, Series
from gateway.warming_series import WARMING_COUNTERS, WARMING_LEVELS, warming_level_zeros, warming_zeros
from policies.evidence import Arm
from router.breaker import BreakerState
from router.errors import ErrorKind
from router.types import Reason

OTHER = "other"
NONE = "none"

# OpenTelemetry's advised boundaries for GenAI durations and token counts.
_OPERATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_OVERHEAD_S = (
    *(0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
_LATENCY_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LAG_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
_AGE_S = (1, 10, 60, 300, 900, 3600, 14400, 43200, 86400, 604800)
_SIMILARITY = (0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 1.0)
_COST_USD = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)

_GATEWAY_CODES = (
    *("budget_exceeded", "deadline_exceeded", "overloaded", "no_candidate", "invalid_api_key", "model_not_found"),
    *("context_length_exceeded", "content_policy_violation", "rate_limit_exceeded", "insufficient_quota"),
    *("provider_error", "provider_unreachable", "provider_timeout", "stream_cut", "malformed_answer", "interrupted"),
    *("model_not_allowed", "provider_not_allowed", "wrong_model_mode", "unsupported_capability", "invalid_request"),
    *("forbidden", "not_found"),
    *("method_not_allowed", "request_timeout", "body_too_large", "unavailable", "internal_error", "reader_too_slow"),
    *("answer_too_large", "budget_unavailable", "cost_unbounded", "request_not_found", "feedback_given"),
    *("warming_off", "announcement_not_found", "idempotency_key_reused"),
)
ERROR_CODES = frozenset({*_GATEWAY_CODES, *get_args(ErrorKind)})
_TYPES = (
    *("invalid_request_error", "authentication_error", "permission_error", "not_found_error", "rate_limit_error"),
    *("server_error", "api_error", "timeout_error", "overloaded_error", "insufficient_quota", "provider_error"),
)
ERROR_TYPES = frozenset(_TYPES)
BUDGET_REASONS = frozenset({"budget_exceeded", "budget_unavailable", "cost_unbounded", "rate_limit_exceeded"})
"""Error codes of the gateway's own budgets and limits; a provider's have another source."""
REDIS_OPERATIONS = ("get", "put", "delete", "append", "read", "other")
SEMANTIC_REFUSALS = (
    *("ineligible", "embedder", "too_long", "store", "class_opening", "empty", "far", "guard", "gate"),
    *("gone", "not_allowed", "too_old"),
)
STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")
_SEMANTIC = (
    *("foreword_semantic_dropped_work", "foreword_embedder_failures", "foreword_embedder_duration_seconds"),
    *("foreword_semantic_similarity", "foreword_semantic_verify_wait_seconds"),
)
_TIERS = ("memory", "redis", "inflight", "segment", "semantic")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLabels:
    """The label values that exist now: from the policies, models.yaml and the HTTP routes, never from a client.

    `deployments` are the pairs of model group and provider.
    """

    models: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    deployments: frozenset[tuple[str, str]] = frozenset()
    routes: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()


_DEPLOYMENT = ("provider", "model")
_CALL = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

COUNTERS = (
    Series(
        "foreword_requests",
        "Requests ended, pipeline steps and warms included",
        ("route", "model", "cache", "result", "origin"),
    ),
    Series("foreword_errors", "Requests that ended in an error", ("type", "code", "source")),
    Series("foreword_cache_lookups", "Cache look-ups by tier", ("tier", "result")),
    Series("foreword_semantic_refusals", "Why the semantic tier did not answer", ("by",)),
    Series("foreword_semantic_labels", "Answers compared for the semantic tier, from classes in use", ("route",)),
    Series("foreword_semantic_label_cost_usd", "Spent on asking again to measure wrong hits, in USD", ("route",)),
    Series("foreword_semantic_verdicts", "Verifiers' words on two questions; late: not waited for", ("verdict",)),
    Series("foreword_semantic_verify_cost_usd", "Spent on asking verifiers, in USD", ("route",)),
    Series("foreword_semantic_dropped_work", "Lessons and labels not begun: there were too many at once"),
    Series("foreword_embedder_failures", "Questions without a vector"),
    Series("foreword_joined_requests", "Requests that shared another's provider call", ("route",)),
    Series("foreword_attempts", "Provider calls", ("provider", "model", "reason", "result")),
    Series("foreword_malformed_events", "Broken events left out of providers' streams", _DEPLOYMENT),
    Series("foreword_breaker_transitions", "Changes of breakers", (*_DEPLOYMENT, "to")),
    Series("foreword_retry_budget_refusals", "Retries, fallbacks and resumptions that the shared budget refused"),
    Series("foreword_queue_entries", "Provider calls that had to wait for a place", _DEPLOYMENT),
    Series("foreword_queue_drops", "Provider calls sent away without a place", _DEPLOYMENT),
    Series("foreword_cost_usd", "Spent on provider calls, in USD", ("provider", "model", "origin")),
    Series("foreword_saved_cost_usd", "Not spent thanks to hits and joins, in USD", ("model", "cache", "origin")),
    Series("foreword_hedges", "Second calls that raced a late first one", ("result",)),
    Series("foreword_hedge_cost_usd", "Spent on the calls that lost such a race, in USD"),
    Series("foreword_unpriced_requests", "Provider answers of models without a known price", ("model",)),
    Series("foreword_arm_requests", "Decisions on routes with a quality floor, by who made them", ("route", "arm")),
    Series("foreword_quality_labels", "Answers judged, by whom", ("source",)),
    Series("foreword_http_requests", "HTTP exchanges", ("endpoint", "status")),
    Series("foreword_budget_refusals", "Requests that a budget or a limit refused", ("policy", "reason")),
    Series("foreword_budget_spent_usd", "Spent under a policy, warms and shadows included, in USD", ("policy",)),
    Series("foreword_policy_reloads", "Policy loads by result", ("result",)),
    Series("foreword_redis_failures", "Redis round trips that failed", ("operation",)),
    Series("foreword_ledger_dropped_entries", "Ledger entries lost"),
    Series("foreword_announcements", "Posts to /v1/warm that were well formed", ("result",)),
    Series("foreword_announced_items", "What became of what was announced", ("result",)),
    *WARMING_COUNTERS,
)
DISTRIBUTIONS = (
    Distribution("foreword_request_duration_seconds", "Total time", ("route", "cache", "origin"), _REQUEST_S),
    Distribution(
        "foreword_overhead_seconds",
        "Time in the gateway: not waiting for a provider or a slow client",
        ("cache",),
        _OVERHEAD_S,
    ),
    Distribution(
        "foreword_interaction_duration_seconds", "What users waited for", ("endpoint", "cache", "result"), _REQUEST_S
    ),
    Distribution(
        "foreword_interaction_cost_usd", "What one user interaction cost, its steps included", ("endpoint",), _COST_USD
    ),
    Distribution("foreword_cache_hit_age_seconds", "Age of answers when served", ("tier",), _AGE_S),
    Distribution("foreword_semantic_similarity", "Cosine of questions answered by another wording", (), _SIMILARITY),
    Distribution("foreword_semantic_verify_wait_seconds", "What requests waited for a verifier", (), _LATENCY_S),
    Distribution("foreword_embedder_duration_seconds", "Time to a question's vector", (), _LATENCY_S),
    Distribution("gen_ai_client_operation_duration_seconds", "One provider call", (*_CALL, "error_type"), _OPERATION_S),
    Distribution("gen_ai_server_time_to_first_token_seconds", "Provider's first token", _CALL, _FIRST_TOKEN_S),
    Distribution(
        "gen_ai_client_token_usage",
        "Tokens of one provider answer; input includes cached",
        (*_CALL, "gen_ai_token_type"),
        _TOKENS,
    ),
    Distribution("foreword_redis_duration_seconds", "Redis round trips", ("operation",), _LATENCY_S),
    Distribution("foreword_event_loop_lag_seconds", "How late timers of the event loop were", (), _LAG_S),
)
LEVELS = (
    Level("foreword_build_info", "What is running; always 1", ("version", "python")),
    Level("foreword_in_flight_requests", "Requests being worked on", (), "livesum"),
    Level("foreword_breaker_state", "0 closed, 1 half open, 2 open: the worst of any worker's", _DEPLOYMENT),
    Level("foreword_in_flight_provider_calls", "Provider calls being worked on", _DEPLOYMENT, "livesum"),
    Level("foreword_queued_provider_calls", "Provider calls waiting for a place", _DEPLOYMENT, "livesum"),
    Level("foreword_semantic_mode", "1 where a class of the route serves other wordings, else 0", ("route",)),
    Level("foreword_semantic_wrong_hits", "Best guess of wrong hits per hit, the worst class's", ("route",)),
    Level("foreword_semantic_wrong_hits_upper", "Its upper 95 % confidence bound, the worst class's", ("route",)),
    Level("foreword_semantic_entries", "Questions in the workers' memory", (), "livesum"),
    Level("foreword_semantic_bytes", "Bytes that they take", (), "livesum"),
    Level("foreword_policy_info", "1 for the policy version in force", ("version",)),
    Level("foreword_knowledge_labels", "Judged answers that routing by quality knows of"),
    Level("foreword_rollout_percent", "Sessions under a new version; 0 outside a rollout", ("policy",)),
    Level("foreword_rollout_step", "Step of a policy's rollout, from 1; 0 outside one", ("policy",)),
    *WARMING_LEVELS,
)


def closed(value: str, known: Collection[str]) -> str:
    """Return `value` if known, "none" if empty, else "other"."""
    if not value:
        return NONE
    return value if value in known else OTHER


def operation_of(endpoint: str) -> str:
    """Return OpenTelemetry's name for what an endpoint does."""
    return "embeddings" if "embeddings" in endpoint else "chat"


def lookups_of(endpoint: str, cache: str, tier: str) -> tuple[tuple[str, str], ...]:
    """Say which tiers were asked and what they said; the order of tiers is memory, in flight, Redis.

    A pipeline asks none itself: its steps' outcomes tell of theirs.
    """
    if cache == "bypass" or endpoint == "pipeline":
        return ()
    if cache == "miss":
        return (("memory", "miss"), ("redis", "miss"))
    if cache == "joined":
        return (("memory", "miss"), ("inflight", "hit"))
    if tier == "semantic":
        return (("memory", "miss"), ("redis", "miss"))  # the tier itself tells of its own look-ups
    if tier == "redis":
        return (("memory", "miss"), ("redis", "hit"))
    return ((tier, "hit"),)


def zeros(known: KnownLabels) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (series, label values) that are to exist at zero, so that rates and alerts see a first increment."""
    yield from _request_zeros(known)
    yield from _provider_zeros(known.providers or (NONE,))
    for model in (NONE, *sorted(known.models)):
        yield "foreword_unpriced_requests", (model,)
        yield "foreword_saved_cost_usd", (model, "hit", "user")
    for tier in _TIERS:
        yield "foreword_cache_hit_age_seconds", (tier,)
        yield from (("foreword_cache_lookups", (tier, found)) for found in ("hit", "miss"))
    yield from _semantic_zeros()
    for operation in REDIS_OPERATIONS:
        yield "foreword_redis_duration_seconds", (operation,)
        yield "foreword_redis_failures", (operation,)
    yield "foreword_retry_budget_refusals", ()
    yield from (("foreword_announcements", (posting,)) for posting in POSTINGS)
    yield from (("foreword_announced_items", (result,)) for result in RESULTS)
    yield from warming_zeros()
    for model, provider in sorted(known.deployments):
        for name in ("foreword_malformed_events", "foreword_queue_entries", "foreword_queue_drops"):
            yield name, (provider, model)
        for state in get_args(BreakerState):
            yield "foreword_breaker_transitions", (provider, model, state)
    yield from (("foreword_hedges", (result,)) for result in ("won", "lost"))
    for policy in (NONE, *sorted(known.policies)):
        yield "foreword_budget_spent_usd", (policy,)
        yield from (("foreword_budget_refusals", (policy, reason)) for reason in sorted(BUDGET_REASONS))
    for result in ("loaded", "rejected"):
        yield "foreword_policy_reloads", (result,)
    yield from (("foreword_quality_labels", (source,)) for source in SOURCES)
    for route in (NONE, *sorted(known.routes)):
        yield from (("foreword_arm_requests", (route, arm)) for arm in get_args(Arm) if arm)


def _semantic_zeros() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from (("foreword_semantic_refusals", (by,)) for by in SEMANTIC_REFUSALS)
    yield from (("foreword_semantic_verdicts", (verdict,)) for verdict in ("same", "different", "none", "late"))
    for name in _SEMANTIC:
        yield name, ()


def level_zeros(known: KnownLabels) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the same for gauges."""
    yield from warming_level_zeros()
    for level in LEVELS:
        if level.labels == ("route",):
            yield from ((level.name, (route,)) for route in sorted(known.routes))
        if level.labels == ("policy",):
            yield from ((level.name, (policy,)) for policy in sorted(known.policies) or (NONE,))
        if level.labels == _DEPLOYMENT:
            yield from ((level.name, (provider, model)) for model, provider in sorted(known.deployments))


def _request_zeros(known: KnownLabels) -> Iterator[tuple[str, tuple[str, ...]]]:
    for route in (NONE, *sorted(known.routes)):
        yield "foreword_joined_requests", (route,)
        yield "foreword_semantic_labels", (route,)
        yield "foreword_semantic_label_cost_usd", (route,)
        yield "foreword_semantic_verify_cost_usd", (route,)
        yield "foreword_request_duration_seconds", (route, "miss", "user")
        for cache, result in (("hit", "ok"), ("miss", "ok"), ("miss", "error"), ("bypass", "error")):
            yield "foreword_requests", (route, NONE, cache, result, "user")
    for cache in get_args(CacheStatus):
        yield "foreword_overhead_seconds", (cache,)
    for endpoint in (OTHER, *sorted(known.endpoints)):
        yield from (("foreword_http_requests", (endpoint, status)) for status in STATUS_CLASSES)
    for endpoint in sorted(known.endpoints & ANSWERING):
        yield "foreword_interaction_cost_usd", (endpoint,)
        yield "foreword_interaction_duration_seconds", (endpoint, "miss", "ok")
    for source in get_args(Source):
        yield "foreword_errors", (NONE, NONE, source)


def _provider_zeros(providers: Collection[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for provider in sorted(providers):
        call = ("chat", provider, NONE)
        yield "foreword_cost_usd", (provider, NONE, "user")
        for reason in get_args(Reason):
            yield from (("foreword_attempts", (provider, NONE, reason, result)) for result in get_args(Result))
        yield "gen_ai_client_operation_duration_seconds", (*call, "")
        yield "gen_ai_server_time_to_first_token_seconds", call
        yield from (("gen_ai_client_token_usage", (*call, kind)) for kind in ("input", "output", "cached"))
