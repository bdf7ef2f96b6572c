"""Which requests may be kept beside their answers: those that may be asked again by somebody else than their caller.

Pure. What is never kept: requests with tools or of work with tools, live or personal wording, and what nobody stores.
"""

from __future__ import annotations

from gateway.cache.semantic.eligibility import changes_by_itself
from gateway.trail import Ask, Trail
from policies.model import Policy, RouteClass


def retains(policy: Policy | None, route_class: RouteClass | None) -> bool:
    """Whether requests of this route are kept: where warming is on, and the route does not forbid it."""
    if policy is None or policy.warming is None or route_class is None:
        return False
    return route_class.route.cache.retain_text and route_class.route.cache.exact_ttl_s > 0


def may_keep(ask: Ask, trail: Trail) -> bool:
    """Whether a chat or embeddings request whose answer has been stored may be asked again by the warmer."""
    if not retains(trail.policy, trail.route_class) or ask.identity is not None or ask.cache_control.no_store:
        return False
    if ask.origin not in ("user", "refresh", "warmer"):
        return False
    assert trail.route_class is not None
    return not changes_by_itself(ask.request, trail.route_class.route.cache)
