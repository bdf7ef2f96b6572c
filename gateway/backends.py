"""The router's backends as the settings want them, with what simulated models remember shared through Redis."""

from __future__ import annotations

from gateway.clock import SystemClock
from gateway.settings import Settings
from gateway.simulated_prefixes import SharedPrefixes
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from router.backends import BackendSettings, make_backends
from router.deployments import LiteLLMDeployments
from router.ports import Backend


def backends_of(
    settings: Settings, store: RedisStore | MemoryStore, clock: SystemClock, deployments: LiteLLMDeployments
) -> dict[str, Backend]:
    """Return the backends that `deployments` use, by name. Opens no connection; close each when done."""
    chosen = BackendSettings(
        connect_s=settings.connect_timeout_s,
        max_answer_bytes=settings.max_answer_bytes,
        simulated_seed=settings.simulated_seed,
        simulated_latency_scale=settings.simulated_latency_scale,
        simulated_prefixes=SharedPrefixes(store, clock) if isinstance(store, RedisStore) else None,
    )
    return make_backends(chosen, clock=clock, deployments=deployments)
