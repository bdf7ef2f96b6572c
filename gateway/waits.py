"""How long the gateway waits for providers, from settings to the router's limits. Must not wait itself."""

from __future__ import annotations

from dataclasses import replace

from gateway.settings import Settings
from router.attempts import DEFAULT_LIMITS, Limits


def waits_of(settings: Settings) -> Limits:
    """Return the router's limits; what is not a setting keeps its default. Reasoning models get twice the time."""
    first_s, answer_s, kept = settings.first_token_timeout_s, settings.answer_timeout_s, DEFAULT_LIMITS
    return replace(
        kept,
        first_token_floor_s=min(settings.first_token_floor_s, first_s),
        first_token_cap_s=first_s,
        cold_first_token_s=min(kept.cold_first_token_s, first_s),
        last_first_token_s=first_s,
        reasoning_first_token_s=min(kept.reasoning_first_token_s, 2 * first_s),
        reasoning_last_first_token_s=2 * first_s,
        whole_floor_s=min(settings.answer_floor_s, answer_s),
        cold_whole_s=min(kept.cold_whole_s, answer_s),
        last_whole_s=answer_s,
        gap_s=settings.gap_timeout_s,
        drip_window_s=settings.drip_window_s,
        drip_bytes_per_s=settings.drip_bytes_per_s,
        max_held_bytes=settings.max_answer_bytes,
        tail_s=settings.tail_timeout_s,
        patience_s=settings.retry_patience_s,
        backoff_s=settings.retry_backoff_s,
        retry_ratio=settings.retry_budget_ratio,
        retries_per_s=settings.retry_budget_per_s,
        breaker=replace(kept.breaker, open_s=settings.breaker_open_s, max_open_s=settings.breaker_max_open_s),
    )
