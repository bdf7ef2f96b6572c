"""Decide which models may serve a request, and in which order, in two pure steps around the cache.

Both are total and deterministic functions of their arguments. Must not do I/O, read a clock or draw a number.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.arrange import cascaded
from policies.evidence import Arm
from policies.floored import arm_for, below_floor, in_time, prediction_for
from policies.model import (
    REQUESTED,
    Match,
    ModelCard,
    NoCandidate,
    Plan,
    Policy,
    Rejection,
    RejectionCode,
    RequestFacts,
    Route,
    RouteClass,
    TokenRange,
    View,
)
from policies.patterns import matches
from policies.ports import Demand, Ordering
from policies.route_index import places
from policies.rules import AllowRules
from policies.selectors import SELECTORS

SIMULATED = "simulated"
"""The provider that asks nobody: text sent to it goes nowhere."""
_NAMED_IN_REASON = 3
_LONGEST_NAME = 128
_SELECTORS_OWN: frozenset[RejectionCode] = frozenset({"no_price", "below_floor"})
_MISTAKES: frozenset[RejectionCode] = frozenset({"unknown_model", "not_allowed", "wrong_mode", "not_here"})
_SIZES: frozenset[RejectionCode] = frozenset({"capability", "context_window"})


def match(policy: Policy, facts: RequestFacts) -> RouteClass:
    """Find the first route whose condition holds; the last one takes what is left (loading checks that it may)."""
    index = policy.index
    routes = policy.routes if index is None else (policy.routes[place] for place in places(index, facts))
    chosen = policy.routes[-1]
    for route in routes:
        if _holds(route.match, facts):
            chosen = route
            break
    return RouteClass(
        policy=policy.name,
        policy_version=policy.version,
        route=chosen,
        facts=facts,
        aliases=policy.models,
        quality_priors=policy.quality_priors,
        reference=policy.reference,
    )


def choose(route_class: RouteClass, view: View) -> Plan | NoCandidate:
    """Order the models that may serve the request, or say why none may.

    A model must be known, on the key's allow list, where the route allows its text to go, of the right kind, capable,
    and hold input plus the output cap in its window; this binds fallbacks as well. The route's selector orders the
    candidates (on a route with a quality floor, the arm that the draw falls on does); those too slow lately are dropped
    unless all are. Fallbacks follow, without repeats, and never below the floor unless the file says so. Where the
    caller's own choice is a candidate it must exist and be the key's to use: fallbacks stand in for models that fail,
    not for names that are wrong. A model that is out of service is dropped, except that the first of the order stays
    when all of them are: the last one that satisfies the policy is never ejected.
    """
    route, facts = route_class.route, route_class.facts
    cap = output_cap(route, facts)
    candidates = _expand(route.candidates, route_class)
    allowed, rejected = _filter(candidates, route_class, view, cap)
    arm = arm_for(route_class, view)
    ordering = _order(route_class, view, allowed, cap, arm)
    if ordering.rejected:
        rejected += ordering.rejected
    order = [group for group, _ in ordering.ranked]
    if route.latency is not None:
        order, slow = in_time(route.latency, order, view)
        rejected += slow
    if route.fallbacks:
        order += _further(route_class, view, cap, order, rejected)
    in_service = [group for group in order if group not in view.unhealthy] or order[:1]
    if not in_service or _is_the_callers_mistake(route, facts, rejected):
        return NoCandidate(route=route.name, rejected=tuple(rejected))
    rejected += _out_of_service(order, in_service)
    in_service, cascade = cascaded(route, in_service, route_class.aliases)
    reason = _reason("control_arm" if arm == "control" else route.selector, ordering.ranked, in_service, view)
    return Plan(
        policy=route_class.policy,
        policy_version=route_class.policy_version,
        route=route.name,
        candidates=tuple(in_service),
        deadline_s=route.deadline_s,
        max_output_tokens=None if route.max_output_tokens is None else cap,
        assemble=route.assemble,
        on_cut=route.on_cut,
        hedge=route.hedge,
        cache=route.cache,
        arm=arm,
        cascade=cascade,
        reason=reason if cascade is None else f"cascade:{cascade.first}",
        rejected=tuple(rejection for rejection in rejected if rejection.candidate not in in_service),
    )


def _out_of_service(order: list[str], in_service: list[str]) -> list[Rejection]:
    if len(in_service) == len(order):
        return []
    return [
        _rejection(group, "unhealthy", f"{group!r} has no deployment in service")
        for group in order
        if group not in in_service
    ]


def _order(route_class: RouteClass, view: View, allowed: tuple[ModelCard, ...], cap: int | None, arm: Arm) -> Ordering:
    route, tokens = route_class.route, route_class.facts.input_tokens
    if not arm or route.knn is None:
        return SELECTORS[route.selector](allowed, Demand(input_tokens=tokens, max_output_tokens=cap, warm=view.warm))
    demand = Demand(
        input_tokens=tokens,
        max_output_tokens=cap,
        prediction=prediction_for(route_class, view, tuple(card.group for card in allowed), arm),
        shares=view.evidence.shares,
        draw=view.draw / route.knn.control if arm == "control" else view.draw,
        warm=view.warm,
    )
    return SELECTORS["control_arm" if arm == "control" else route.selector](allowed, demand)


def _further(
    route_class: RouteClass, view: View, cap: int | None, order: list[str], rejected: list[Rejection]
) -> list[str]:
    """Return the fallbacks that may follow `order`; whoever may not is added to `rejected`."""
    route = route_class.route
    # What the selector left out for its price or its uncertain quality may still stand in.
    refused = {rejection.candidate for rejection in rejected if rejection.code not in _SELECTORS_OWN}
    further = [g for g in _expand(route.fallbacks, route_class) if g not in order and g not in refused]
    more, more_rejected = _filter(further, route_class, view, cap)
    rejected += more_rejected
    groups = [card.group for card in more]
    excused = frozenset(_expand(route.below_floor, route_class))
    low = below_floor(route_class, view, tuple(group for group in groups if group not in excused))
    known = {rejection.candidate for rejection in rejected}
    rejected += [rejection for rejection in low if rejection.candidate not in known]
    return [group for group in groups if group not in {rejection.candidate for rejection in low}]


def _is_the_callers_mistake(route: Route, facts: RequestFacts, rejected: Iterable[Rejection]) -> bool:
    if REQUESTED not in route.candidates:
        return False
    requested = facts.requested_model[:_LONGEST_NAME]
    return any(rejection.candidate == requested and rejection.code in _MISTAKES for rejection in rejected)


def output_cap(route: Route, facts: RequestFacts) -> int | None:
    """Return the smaller of what the route and the client allow an answer to hold, None where neither says.

    None for embeddings too: they have no output tokens.
    """
    if facts.dialect == "embeddings":
        return None
    if facts.max_output_tokens is None or route.max_output_tokens is None:
        return route.max_output_tokens if facts.max_output_tokens is None else facts.max_output_tokens
    return min(route.max_output_tokens, facts.max_output_tokens)


def _holds(condition: Match, facts: RequestFacts) -> bool:
    if condition.model is not None and not matches(condition.model, facts.requested_model):
        return False
    if condition.tenant is not None and not matches(condition.tenant, facts.tenant):
        return False
    if condition.tag is not None and not _has_tag(condition.tag, facts.tags):
        return False
    if condition.dialect is not None and condition.dialect != facts.dialect:
        return False
    if condition.input_tokens is not None and not _within(condition.input_tokens, facts.input_tokens):
        return False
    if condition.all and not all(_holds(part, facts) for part in condition.all):
        return False
    if condition.any_of and not any(_holds(part, facts) for part in condition.any_of):
        return False
    return not condition.none or not any(_holds(part, facts) for part in condition.none)


def _has_tag(wanted: str, tags: frozenset[str]) -> bool:
    if wanted.endswith("=*"):
        prefix = wanted[:-1]
        return any(tag.startswith(prefix) for tag in tags)
    return wanted in tags


def _within(bounds: TokenRange, tokens: int) -> bool:
    return (
        (bounds.lt is None or tokens < bounds.lt)
        and (bounds.lte is None or tokens <= bounds.lte)
        and (bounds.gt is None or tokens > bounds.gt)
        and (bounds.gte is None or tokens >= bounds.gte)
    )


def _expand(names: Iterable[str], route_class: RouteClass) -> list[str]:
    """Turn aliases and `requested` into groups, each once."""
    groups: dict[str, None] = {}
    for name in names:
        group = route_class.facts.requested_model if name == REQUESTED else route_class.aliases.get(name, name)
        groups[group] = None
    return list(groups)


def _filter(
    groups: Iterable[str], route_class: RouteClass, view: View, cap: int | None
) -> tuple[tuple[ModelCard, ...], list[Rejection]]:
    allowed: list[ModelCard] = []
    rejected: list[Rejection] = []
    for group in groups:
        card = view.catalogue.get(group)
        if card is None:
            # The name may be the client's own, and as long as its body.
            rejected.append(_rejection(group[:_LONGEST_NAME], "unknown_model", f"no model is called {group[:64]!r}"))
            continue
        rejection = _refuse(card, route_class, cap)
        if rejection is None:
            allowed.append(card)
        else:
            rejected.append(rejection)
    return tuple(allowed), rejected


def may_have(card: ModelCard, route_class: RouteClass) -> bool:
    """Whether the request's text may go to `card` at all: its key's list and its route's, and the kind of request."""
    rejection = _refuse(card, route_class, None)
    return rejection is None or rejection.code in _SIZES


def _refuse(card: ModelCard, route_class: RouteClass, cap: int | None) -> Rejection | None:
    """Return the first reason why `card` may not serve the request."""
    group, facts = card.group, route_class.facts
    elsewhere = _elsewhere(card, route_class.route.allow)
    if facts.allowed_models is not None and group not in facts.allowed_models:
        return _rejection(group, "not_allowed", f"this key may not use {group!r}")
    if elsewhere:
        return _rejection(group, "not_here", f"{group!r} has a deployment {elsewhere}, which this route does not allow")
    if card.mode != facts.dialect:
        return _rejection(group, "wrong_mode", f"{group!r} serves {card.mode}, not {facts.dialect}")
    if not facts.needs <= card.capabilities:
        lacking = ", ".join(sorted(facts.needs - card.capabilities))
        return _rejection(group, "capability", f"{group!r} does not support {lacking}")
    tokens = facts.input_tokens + (cap or 0)
    if card.context_window is not None and tokens > card.context_window:
        detail = f"about {tokens} tokens with the answer, but {group!r} holds {card.context_window}"
        return _rejection(group, "context_window", detail)
    return None


def _elsewhere(card: ModelCard, allow: AllowRules | None) -> str:
    """Return where text sent to `card` might go beyond what is allowed, "" for nowhere."""
    if allow is None:
        return ""
    providers, regions = allow.providers, allow.regions
    for provider in card.providers:
        if providers is not None and provider not in providers and provider != SIMULATED:
            return f"at {provider}"
    for region in card.regions:
        if regions is not None and region not in regions:
            return f"in {region}" if region else "in an unknown region"
    return ""


def _rejection(candidate: str, code: RejectionCode, detail: str) -> Rejection:
    return Rejection(candidate=candidate, code=code, detail=detail)


def _reason(selector: str, ranked: tuple[tuple[str, str], ...], in_service: list[str], view: View) -> str:
    """Say in a few ASCII words why the first model is the first: `cheapest:a 0.00012<b 0.0021`."""
    first = in_service[0]
    if first in view.unhealthy:
        return f"last_resort:{first}"
    rivals = [(group, figure) for group, figure in ranked if group in in_service]
    if not rivals:
        return f"fallback:{first}"
    if not rivals[0][1]:
        return f"{selector}:{first}"
    text, last_figure = f"{selector}:", ""
    for group, figure in rivals[:_NAMED_IN_REASON]:
        text += ("" if not last_figure else "=" if figure == last_figure else "<") + f"{group} {figure}"
        last_figure = figure
    return text
