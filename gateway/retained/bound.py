"""The most that one warm may cost, by the same bounds as budgets. Pure."""

from __future__ import annotations

from gateway.budgets.bound import size_of
from gateway.trail import Trail
from policies.bounds import Size, plan_nanousd
from policies.decide import output_cap
from policies.model import Catalogue, Plan
from router.types import ChatRequest


def size_for(request: ChatRequest, trail: Trail) -> Size | None:
    """Return the most tokens that asking this may take, None where that cannot be said."""
    if trail.route_class is None:
        return None
    return size_of(request, output_cap=output_cap(trail.route_class.route, trail.route_class.facts))


def bound_of(request: ChatRequest, trail: Trail, plan: Plan, *, catalogue: Catalogue) -> int | None:
    """Return the most that the plan can cost in nano-dollars, None where it has no bound."""
    is_capped = request.dialect != "embeddings" and plan.max_output_tokens is not None
    size = size_of(request, output_cap=plan.max_output_tokens) if is_capped else size_for(request, trail)
    return plan_nanousd(plan.candidates, catalogue, size, attempts=plan.max_attempts or 1)
