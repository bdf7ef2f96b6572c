"""Why one request goes where it goes: the plan, and of every model that was considered what became of it.

Must not decide: it reads what `match` and `choose` made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from policies.decide import output_cap
from policies.expected_cost import expected_cost
from policies.model import REQUESTED, Catalogue, ModelCard, NoCandidate, Plan, RouteClass
from policies.narrowing import Cut
from policies.ports import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One model that the route names. `place` counts from 1 in the plan, None where it is not in it.

    `code` is the rejection's, "" for a model of the plan, "budget" for one that a budget has dropped;
    `expected_cost_usd` is None where the price is unknown.
    """

    name: str
    group: str
    role: Literal["candidate", "fallback", "other"]
    place: int | None
    code: str
    why: str
    expected_cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision in full; `reason` is "" where no model may serve, `budget` where nothing is known of any."""

    policy: str
    policy_version: str
    route: str
    selector: str
    reason: str
    considered: tuple[Considered, ...]
    budget: str = ""


def explain(
    route_class: RouteClass, made: Plan | NoCandidate, catalogue: Catalogue, *, cut: Cut | None = None, budget: str = ""
) -> Explanation:
    """Return what `made`, which `choose` gave for `route_class`, does with every model of the route; `cut` is what
    budgets take off it, `budget` what is said of them."""
    route = route_class.route
    return Explanation(
        policy=route_class.policy,
        policy_version=route_class.policy_version,
        route=route.name,
        selector=route.selector,
        reason=made.reason if isinstance(made, Plan) else "",
        considered=tuple(_considered(route_class, made, catalogue, cut)),
        budget=budget,
    )


def _considered(
    route_class: RouteClass, made: Plan | NoCandidate, catalogue: Catalogue, cut: Cut | None
) -> Iterator[Considered]:
    route = route_class.route
    chosen = made.candidates if isinstance(made, Plan) else ()
    order = chosen if cut is None else cut.candidates
    refused = {rejection.candidate: rejection for rejection in made.rejected}
    named: dict[str, tuple[str, Literal["candidate", "fallback", "other"]]] = {}
    for role, names in (("candidate", route.candidates), ("fallback", route.fallbacks)):
        for name in names:
            group = route_class.facts.requested_model if name == REQUESTED else route_class.aliases.get(name, name)
            named.setdefault(group, (name, "candidate" if role == "candidate" else "fallback"))
    for group in (*chosen, *refused):
        named.setdefault(group, (group, "other"))
    for group, (name, role) in named.items():
        place = order.index(group) + 1 if group in order else None
        rejection = refused.get(group)
        is_dropped = place is None and group in chosen
        if place is None and rejection is None and not is_dropped:
            continue  # a name too long to be shown stands there cut short
        yield Considered(
            name=name,
            group=group,
            role=role,
            place=place,
            code="budget" if is_dropped else rejection.code if rejection else "",
            why=rejection.detail if rejection is not None else _why(made, place),
            expected_cost_usd=_expected_usd(route_class, catalogue.get(group)),
        )


def _why(made: Plan | NoCandidate, place: int | None) -> str:
    if place is None:
        return "too dear for what is left"
    return made.reason if place == 1 and isinstance(made, Plan) else "is asked if those before it fail"


def _expected_usd(route_class: RouteClass, card: ModelCard | None) -> float | None:
    if card is None or card.price is None:
        return None
    facts = route_class.facts
    demand = Demand(input_tokens=facts.input_tokens, max_output_tokens=output_cap(route_class.route, facts))
    return expected_cost(card, card.price, demand) / 1e12
