"""Policies as rows of text, for `policy show`. Must not colour, align or print: the CLI does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.book import PolicySet
from policies.durations import duration_text
from policies.model import CacheRules, Match, Policy, Route, TokenRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One route as a line of a table; the field names are the headings."""

    policy: str
    version: str
    tenants: str
    route: str
    match: str
    models: str
    order: str
    fallbacks: str
    deadline: str
    max_output_tokens: str
    cache: str
    also: str


def rows(policies: PolicySet) -> tuple[Row, ...]:
    """Return one row a route, in the order in which routes are asked."""
    return tuple(_row(policy, route) for policy in policies.policies for route in policy.routes)


def _row(policy: Policy, route: Route) -> Row:
    return Row(
        policy=policy.name,
        version=policy.version,
        tenants=", ".join(policy.tenants) or "nobody",
        route=route.name,
        match=match_text(route.match),
        models=", ".join(_named(policy, name) for name in route.candidates),
        order=route.selector,
        fallbacks=", ".join(_named(policy, name) for name in route.fallbacks) or "-",
        deadline=duration_text(route.deadline_s),
        max_output_tokens="-" if route.max_output_tokens is None else str(route.max_output_tokens),
        cache=_cache_text(route.cache, route.epoch),
        also=", ".join(_also(route)) or "-",
    )


def limits(policy: Policy) -> tuple[str, ...]:
    """Return one line for each thing that a policy says of all its routes: money, limits, rollout, copies, judge."""
    return tuple(_limits(policy))


def _limits(policy: Policy) -> Iterator[str]:
    for budget in policy.budgets:
        of = f" {budget.route}" if budget.route else ""
        then = ", then ".join(budget.on_exceed)
        kind = "hard" if budget.is_hard else "soft"
        most = f"{_usd(budget.limit_nanousd)} a {budget.window} ({budget.tz})"
        yield f"budget of each {budget.scope}{of}: {most}, {kind}: {then}"
    for rate in policy.rates:
        each = (("requests", rate.requests_per_minute), ("tokens", rate.tokens_per_minute))
        yield f"limit of each {rate.scope}: " + ", ".join(f"{n} {unit} a minute" for unit, n in each if n is not None)
    if policy.sticky != "none":
        yield f"sticky by {policy.sticky}"
    if policy.warming is not None:
        yield f"warming: {_usd(policy.warming.limit_nanousd_day)} a day"
    if policy.rollout is not None:
        steps = ", ".join(f"{step:g} %" for step in policy.rollout.steps)
        guards = ", ".join(f"{guard.metric} ({guard.action})" for guard in policy.rollout.guards) or "none"
        hold = duration_text(policy.rollout.hold_s)
        yield f"a new version takes over by {steps}, each {hold} at least; guards: {guards}"
    if policy.shadow is not None:
        share, names = 100 * policy.shadow.sample, ", ".join(policy.shadow.models)
        yield f"shadow: {share:g} % also to {names}, {_usd(policy.shadow.limit_nanousd_day)} a day"
    if policy.judge is not None:
        share, most_usd = 100 * policy.judge.sample, _usd(policy.judge.limit_nanousd_day)
        yield f"judge: {policy.judge.model} marks {share:g} %, {most_usd} a day"


def _usd(nanousd: int) -> str:
    return f"{nanousd / 1e9:g} USD"


def _also(route: Route) -> Iterator[str]:
    if route.quality is not None:
        yield f"floor {route.quality.floor:g} at {100 * route.quality.confidence:g} %"
    if route.cascade is not None:
        yield f"{route.cascade.first} first, then {route.cascade.then}"
    if route.tier is not None and route.tier.prefer != "standard":
        yield f"{route.tier.prefer} above {route.tier.deadline_gt_s:g} s"
    if route.hedge is not None:
        yield f"hedge after p{100 * route.hedge.after:g}"
    if route.allow is not None:
        places = sorted((*(route.allow.providers or ()), *(route.allow.regions or ())))
        yield f"only at {', '.join(places)}"
    if route.assemble or route.on_cut != "resume":
        yield "complete answers only" if route.assemble else f"on_cut {route.on_cut}"


def match_text(condition: Match) -> str:
    """Write a condition the way one would say it: `tag task=fallacy and input_tokens < 60000`."""
    parts = [
        f"{key} {value}"
        for key, value in (
            ("model", condition.model),
            ("tenant", condition.tenant),
            ("tag", condition.tag),
            ("dialect", condition.dialect),
        )
        if value is not None
    ]
    if condition.input_tokens is not None:
        parts.append(_range_text(condition.input_tokens))
    parts += [match_text(part) for part in condition.all]
    if condition.any_of:
        parts.append("(" + " or ".join(match_text(part) for part in condition.any_of) + ")")
    if condition.none:
        parts.append("not (" + " or ".join(match_text(part) for part in condition.none) + ")")
    return " and ".join(parts) or "everything"


def _range_text(bounds: TokenRange) -> str:
    sides = (("<", bounds.lt), ("<=", bounds.lte), (">", bounds.gt), (">=", bounds.gte))
    return " and ".join(f"input_tokens {sign} {bound}" for sign, bound in sides if bound is not None)


def _named(policy: Policy, name: str) -> str:
    group = policy.models.get(name)
    return name if group is None or group == name else f"{name} ({group})"


def _cache_text(cache: CacheRules, epoch: int) -> str:
    if not cache.exact_ttl_s:
        return "off"
    parts = [f"exact {duration_text(cache.exact_ttl_s)}"]
    parts.append("any temperature" if cache.max_temperature is None else f"temperature <= {cache.max_temperature:g}")
    if cache.partition_by_user:
        parts.append("by user")
    parts += cache.normalise
    if cache.semantic is not None:
        parts.append(f"semantic <= {100 * cache.semantic.wrong_per_hit:g} % wrong")
    if cache.stale_if_error_s:
        parts.append(f"stale if error {duration_text(cache.stale_if_error_s)}")
    if cache.refresh_after_s is not None:
        parts.append(f"refresh after {duration_text(cache.refresh_after_s)}")
    if not cache.retain_text:
        parts.append("requests not kept")
    if epoch:
        parts.append(f"epoch {epoch}")
    return ", ".join(parts)
