"""The settings that say how long and how often: waits for providers, retries, breakers, leases. Reads nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

from gateway.setting_types import Number, Seconds


class WaitSettings(BaseModel):
    """Part of gateway.settings.Settings. Where it can be off, 0 turns it off."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    connect_timeout_s: Seconds = Field(5.0, description="longest wait for a connection to a provider")
    first_token_timeout_s: Seconds = Field(60.0, description="longest wait for a stream's first token")
    answer_timeout_s: Seconds = Field(120.0, description="longest wait for an answer that is not streamed")
    first_token_floor_s: Seconds = Field(2.0, description="least limit for a first token that is learnt")
    answer_floor_s: Seconds = Field(10.0, description="least limit for an unstreamed answer that is learnt")
    gap_timeout_s: Seconds = Field(15.0, description="longest silence inside a stream")
    heartbeat_s: Annotated[NonNegativeFloat, Number] = Field(
        15.0, description="silence after which a stream gets a comment, and its head if it has none yet; 0 turns it off"
    )
    drip_window_s: Seconds = Field(
        30.0, description="a stream that stays slower than drip_bytes_per_s so long is given up"
    )
    drip_bytes_per_s: Annotated[NonNegativeFloat, Number] = Field(1.0, description="least text of a stream; 0 for any")
    tail_timeout_s: Seconds = Field(1.0, description="longest wait for usage and [DONE] after the last finish reason")
    retry_patience_s: Seconds = Field(2.0, description="longest Retry-After waited for where a fallback is left")
    retry_backoff_s: Seconds = Field(0.25, description="longest jittered pause before a retry")
    retry_budget_ratio: Annotated[NonNegativeFloat, Number] = Field(
        0.1, description="share of a worker's last 10 s of requests that may be tried again"
    )
    retry_budget_per_s: Annotated[NonNegativeFloat, Number] = Field(
        1.0, description="tries again per second of each worker beside that share"
    )
    breaker_open_s: Seconds = Field(2.0, description="time without calls for a deployment that keeps failing")
    breaker_max_open_s: Seconds = Field(15.0, description="the same at most: each failed probe doubles it")
    policy_switch_s: Seconds = Field(
        2.0, description="how much later a step of a rollout takes effect, on every replica at once"
    )
    lease_wait_s: Annotated[NonNegativeFloat, Number] = Field(
        10.0, description="longest wait for another worker's answer to the same unstreamed request; 0 turns it off"
    )
