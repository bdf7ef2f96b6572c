"""What /health/ready and /admin/status show of a worker's parts; no secret, no address."""

from __future__ import annotations

from gateway.parts import Parts
from gateway.rollout.state import shown_state
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from router.deployments import LiteLLMDeployments


def details(parts: Parts, deployments: LiteLLMDeployments, store: RedisStore | MemoryStore) -> dict[str, object]:
    """What /health/ready and /admin/status show; no secret, no address."""
    return {
        "policies": {policy.name: policy.version for policy in parts.book.current().policies},
        "rollouts": [shown_state(state, now=parts.clock.now()) for state in parts.rollouts.states if state.candidate],
        "models": sorted(deployments.catalogue()),
        "cooling_down": sorted(deployments.unhealthy()),
        "store": "memory" if isinstance(store, MemoryStore) else f"redis {store.state}",
        "provider_calls": parts.inflight.count,
        "callers": parts.inflight.callers,
    }
