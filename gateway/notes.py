"""What the flow writes down of a request: where its answer came from, and the answer as it is stored.

Decides nothing and does no I/O.
"""

from __future__ import annotations

from gateway.cache.codec import StoredAnswer
from gateway.cache.exact import Hit
from gateway.cache.flight import Flight
from gateway.cache.lease import Elsewhere, Lease
from gateway.outcome import CacheStatus, CacheTier
from gateway.trail import Ask, Trail
from policies.model import Plan
from router.types import Finished


def note(
    ask: Ask,
    trail: Trail,
    found: Hit | Flight | Lease | Elsewhere | None,
    *,
    cache: CacheStatus = "hit",
    tier: CacheTier | None = None,
) -> None:
    """Note what was found for a request; `cache` and `tier` are those of a stored answer."""
    if isinstance(found, Flight):
        trail.cache, trail.tier = "joined", "inflight"
    elif isinstance(found, Hit):
        trail.cache, trail.age_s, trail.stored = cache, found.age_s, found.answer
        trail.tier = tier or ("segment" if ask.is_segment else found.tier)
    else:
        trail.cache = "miss"


def stored_answer(trail: Trail, plan: Plan, flight: Flight, finished: Finished) -> StoredAnswer:
    """Return the whole answer of a call as the cache keeps it."""
    ask, ttl_s = trail.ask, plan.cache.exact_ttl_s
    return StoredAnswer(
        form="sse" if finished.body is None else "json",
        payload=flight.blocks() if finished.body is None else finished.body,
        usage_event=finished.usage_event,
        usage=finished.usage,
        finish_reasons=finished.finish_reasons,
        routed_model=finished.deployment.group,
        response_model=finished.response_model,
        provider=finished.deployment.provider,
        is_simulated=finished.deployment.backend == "simulated",
        cost_nanousd=finished.cost_nanousd,
        created_at=trail.clock.now(),
        ttl_s=min(ttl_s, ask.cache_control.ttl_s or ttl_s),
        writer=ask.caller.key_id,
        policy_version=plan.policy_version,
    )
