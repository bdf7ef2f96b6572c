"""How long the gateway waits for providers follows from its settings."""

from __future__ import annotations

from gateway.settings import load_settings
from gateway.waits import waits_of
from router.attempts import DEFAULT_LIMITS, Limits


def limits(**flags: str | bool) -> Limits:
    return waits_of(load_settings(flags=flags, environment={}).settings)


def test_without_settings_the_routers_own_limits_hold() -> None:
    assert limits() == DEFAULT_LIMITS


def test_no_learnt_limit_has_a_floor_above_its_cap() -> None:
    waits = limits(first_token_timeout_s="1", answer_timeout_s="5")
    assert (waits.first_token_floor_s, waits.whole_floor_s) == (1.0, 5.0)


def test_floors_drip_breaker_and_what_is_held_are_settings() -> None:
    waits = limits(
        first_token_floor_s="0.5",
        answer_floor_s="3",
        drip_window_s="7",
        drip_bytes_per_s="9",
        breaker_open_s="1",
        breaker_max_open_s="4",
        max_answer_bytes="1MiB",
    )
    assert (waits.first_token_floor_s, waits.whole_floor_s) == (0.5, 3.0)
    assert (waits.drip_window_s, waits.drip_bytes_per_s) == (7.0, 9.0)
    assert (waits.breaker.open_s, waits.breaker.max_open_s) == (1.0, 4.0)
    assert waits.max_held_bytes == 1 << 20
