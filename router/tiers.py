"""Which service tier an attempt asks its provider for. Decides nothing about models."""

from __future__ import annotations

from policies.model import Plan
from router.itinerary import Turn


def asked_tier(plan: Plan, turn: Turn) -> str:
    """Return the service tier to ask for: the plan's at the first attempt, where the deployment has a price for it.

    A provider that is short of the cheap tier refuses with a 429; whoever is asked next is asked at the standard one.
    """
    price = turn.deployment.price
    is_asked = turn.reason == "first" and price is not None and plan.service_tier in price.tiers
    return plan.service_tier if is_asked else ""
