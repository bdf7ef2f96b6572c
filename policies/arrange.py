"""What a plan adds to an order of models: a cascade in front of it, and a cheaper service tier. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from policies.model import Cascade, Plan, Route


def cascaded(route: Route, order: Sequence[str], aliases: Mapping[str, str]) -> tuple[list[str], Cascade | None]:
    """Put the cascade's two models in front, where both may serve the request; else leave the order as it is.

    Its first answer is checked and its second model reaches the route's floor (checked when the file is loaded), so
    that the selector's own choice is not needed.
    """
    rules = route.cascade
    if rules is None:
        return list(order), None
    first, then = aliases.get(rules.first, rules.first), aliases.get(rules.then, rules.then)
    if first == then or first not in order or then not in order:
        return list(order), None
    rest = [group for group in order if group not in (first, then)]
    return [first, then, *rest], Cascade(first=first, then=then, accept=rules.accept)


def service_tier(route: Route, deadline_s: float) -> str:
    """Return the service tier to ask for, "" for the standard one: a cheaper one where the caller can wait."""
    rules = route.tier
    if rules is None or rules.prefer == "standard" or deadline_s <= rules.deadline_gt_s:
        return ""
    return rules.prefer


def warming_plan(plan: Plan, *, service_tier: str, most_output: int | None) -> Plan:
    """Return the plan as the warmer follows it: its first model alone, asked once (a cascade's two), at its own tier,
    since nobody waits, and for no more than `most_output` tokens."""
    cascade = plan.cascade
    caps = [cap for cap in (plan.max_output_tokens, most_output) if cap is not None]
    return replace(
        plan,
        service_tier=service_tier,
        candidates=plan.candidates[:1] if cascade is None else (cascade.first, cascade.then),
        max_attempts=1 if cascade is None else 2,
        max_output_tokens=min(caps, default=None),
        hedge=None,
    )
