"""The answer of a request's own call as the cache keeps it, where it is good enough to be told again.

Decides nothing and does no I/O.
"""

from __future__ import annotations

from gateway.cache.admission import is_good
from gateway.cache.codec import StoredAnswer
from gateway.cache.flight import Flight
from gateway.cache.semantic.scope import attachment_hash
from gateway.trail import Trail
from policies.model import Plan, RouteClass
from router.types import Finished


def made_answer(trail: Trail, flight: Flight) -> StoredAnswer | None:
    """Return, and note, the answer of a request's own call where it is good enough to be told again; else None.

    An answer that nobody stores is put together only for the cache's own questions, which compare it.
    """
    ask, finished = trail.ask, flight.finished
    is_wanted = flight.key is not None or ask.origin == "refresh"
    if not is_wanted or finished is None or not is_good(ask.request, flight, finished):
        return None
    if trail.plan is not None and trail.route_class is not None:
        trail.made = _stored_answer(trail, trail.plan, trail.route_class, flight, finished)
    return trail.made


def _stored_answer(
    trail: Trail, plan: Plan, route_class: RouteClass, flight: Flight, finished: Finished
) -> StoredAnswer:
    ask, ttl_s = trail.ask, plan.cache.exact_ttl_s
    # In the order of its fields, as test_trail.py holds: more than 15 arguments by name take 3 us more.
    return StoredAnswer(
        "sse" if finished.body is None else "json",
        flight.blocks() if finished.body is None else finished.body,
        finished.usage_event,
        finished.usage,
        finished.finish_reasons,
        finished.deployment.group,
        finished.response_model,
        finished.deployment.provider,
        finished.deployment.backend == "simulated",
        finished.cost_nanousd,
        trail.clock.now(),
        min(ttl_s, ask.cache_control.ttl_s or ttl_s),
        ask.caller.key_id,
        plan.policy_version,
        plan.cache.stale_if_error_s,
        ask.caller.tenant,
        plan.route,
        route_class.route.epoch,
        tuple(sorted(ask.tags)),
        _transcript(trail),
        ask.warming.predictor if ask.warming is not None else "",
    )


def _transcript(trail: Trail) -> str:
    """Return the hash of what is attached to the question, where that was told apart from it."""
    place = trail.looked.place if trail.looked is not None else None
    return trail.ask.transcript or (attachment_hash(place.question.attachment) if place is not None else "")
