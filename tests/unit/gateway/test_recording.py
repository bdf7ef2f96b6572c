"""What an outcome adds to the metrics."""

from __future__ import annotations

import pytest

from router.types import Reason
from tests.unit.gateway.metric_samples import CHAT, answered, attempt, make, outcome, samples, value


def test_a_miss_counts_request_tokens_cost_attempt_and_times() -> None:
    metrics = make()
    metrics.record(answered())
    found = samples(metrics)
    assert value(found, "foreword_requests_total", route="default", model="small", cache="miss", result="ok") == 1
    assert value(found, "foreword_cost_usd_total", provider="openai", model="small") == pytest.approx(0.002)
    assert value(found, "foreword_attempts_total", reason="first", result="ok", model="small") == 1
    assert value(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 100
    assert value(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 20
    assert value(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="cached") == 60
    assert value(found, "gen_ai_client_operation_duration_seconds_sum", error_type="") == pytest.approx(0.25)
    assert value(found, "gen_ai_server_time_to_first_token_seconds_sum") == pytest.approx(0.2)
    assert value(found, "foreword_overhead_seconds_bucket", cache="miss", le="0.0005") == 1
    assert value(found, "foreword_overhead_seconds_bucket", cache="miss", le="0.0003") == 0
    assert value(found, "foreword_cache_lookups_total", tier="memory", result="miss") == 1
    assert value(found, "foreword_cache_lookups_total", tier="redis", result="miss") == 1
    assert value(found, "foreword_interaction_cost_usd_sum", endpoint=CHAT) == pytest.approx(0.002)


def test_a_hit_saves_money_and_costs_none() -> None:
    metrics = make()
    metrics.record(outcome(cache="hit", cache_tier="redis", age_s=30.0, saved_nanousd=3_000_000_000))
    found = samples(metrics)
    assert value(found, "foreword_saved_cost_usd_total", cache="hit", model="small") == pytest.approx(3.0)
    assert value(found, "foreword_cost_usd_total") == 0
    assert value(found, "foreword_cache_hit_age_seconds_sum", tier="redis") == 30.0
    assert value(found, "foreword_cache_lookups_total", tier="memory", result="miss") == 1
    assert value(found, "foreword_cache_lookups_total", tier="redis", result="hit") == 1
    assert value(found, "gen_ai_client_token_usage_count") == 0


def test_a_join_is_counted_and_its_age_is_not() -> None:
    metrics = make()
    metrics.record(outcome(cache="joined", cache_tier="inflight", saved_nanousd=1))
    found = samples(metrics)
    assert value(found, "foreword_joined_requests_total", route="default") == 1
    assert value(found, "foreword_cache_hit_age_seconds_count") == 0


def test_a_pipeline_made_no_lookup_of_its_own() -> None:
    metrics = make()
    metrics.record(outcome(endpoint="pipeline", route="", cache="hit", cache_key="", interaction_cost_nanousd=5))
    metrics.record(outcome(endpoint="pipeline", route="", cache="miss", cache_key=""))
    found = samples(metrics)
    assert value(found, "foreword_cache_lookups_total") == 0
    assert value(found, "foreword_cache_hit_age_seconds_count") == 0
    assert value(found, "foreword_interaction_cost_usd_count") == 2


def test_an_error_is_counted_by_type_code_and_source() -> None:
    metrics = make()
    failed = attempt(result="error", error_code="rate_limited", status=429)
    metrics.record(
        answered(
            result="error",
            status=429,
            attempts=(failed, attempt(reason="retry", result="error", error_code="made up")),
            error_code="rate_limit_exceeded",
            error_type="rate_limit_error",
            error_source="provider",
        )
    )
    found = samples(metrics)
    labels = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "source": "provider"}
    assert value(found, "foreword_errors_total", **labels) == 1
    assert value(found, "gen_ai_client_operation_duration_seconds_count", error_type="rate_limited") == 1
    assert value(found, "gen_ai_client_operation_duration_seconds_count", error_type="other") == 1
    assert value(found, "foreword_attempts_total", reason="retry", result="error") == 1


def test_a_model_without_a_price_is_not_counted_as_free() -> None:
    metrics = make()
    metrics.record(answered(cost_nanousd=None, interaction_cost_nanousd=0))
    found = samples(metrics)
    assert value(found, "foreword_unpriced_requests_total", model="small") == 1
    assert value(found, "foreword_cost_usd_total") == 0


def test_only_what_a_user_asked_for_is_an_interaction() -> None:
    metrics = make()
    for origin in ("user", "pipeline", "warmer"):
        metrics.record(answered(origin=origin))
    found = samples(metrics)
    assert value(found, "foreword_interaction_duration_seconds_count", cache="miss") == 1
    assert value(found, "foreword_requests_total") == 3
    assert value(found, "foreword_cost_usd_total") == pytest.approx(0.006)


def test_what_asks_no_model_is_no_interaction_even_where_it_is_refused() -> None:
    metrics = make()
    metrics.record(outcome(endpoint="warm", route="", cache="bypass", result="error", status=409))
    metrics.record(outcome(endpoint="none", route="", cache="bypass", result="error", status=404))
    found = samples(metrics)
    assert value(found, "foreword_interaction_duration_seconds_count") == 0
    assert value(found, "foreword_requests_total", result="error") == 2


@pytest.mark.parametrize("has_won", [True, False])
def test_a_hedge_counts_as_won_or_lost_with_what_its_loser_cost(has_won: bool) -> None:
    metrics = make()
    reasons: tuple[Reason, Reason] = ("first", "hedge") if has_won else ("hedge", "first")
    lost = attempt(reason=reasons[0], result="cancelled", cost_nanousd=3_000_000)
    metrics.record(answered(attempts=(lost, attempt(reason=reasons[1]))))
    found = samples(metrics)
    assert value(found, "foreword_hedges_total", result="won") == has_won
    assert value(found, "foreword_hedges_total", result="lost") == (not has_won)
    assert value(found, "foreword_hedge_cost_usd_total") == pytest.approx(0.003)
    assert value(found, "foreword_attempts_total", reason="hedge") == 1
