"""How long the gateway waits for providers, from settings to the router's limits. Must not wait itself."""

from __future__ import annotations

from dataclasses import replace

from gateway.settings import Settings
from router.attempts import DEFAULT_LIMITS, Limits


def waits_of(settings: Settings) -> Limits:
    """Return the router's limits; what is not a setting keeps its default."""
    return replace(
        DEFAULT_LIMITS,
        first_token_s=settings.first_token_timeout_s,
        whole_s=min(DEFAULT_LIMITS.whole_s, settings.answer_timeout_s),
        last_whole_s=settings.answer_timeout_s,
        gap_s=settings.gap_timeout_s,
        tail_s=settings.tail_timeout_s,
        patience_s=settings.retry_patience_s,
        backoff_s=settings.retry_backoff_s,
    )
