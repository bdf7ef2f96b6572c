"""Policies as rows of text, for `policy show`. Must not colour, align or print: the CLI does."""

from __future__ import annotations

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
    )


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
