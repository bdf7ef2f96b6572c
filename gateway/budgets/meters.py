"""Which meters a request runs: one for each budget and rate limit that applies to it, in the window it is in.

Pure; a meter is a name and a limit, what it shows is in Redis (gateway.budgets.script).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import msgspec

from gateway.budgets.calendar import Window, window_at
from policies.model import Policy, RouteClass
from policies.narrowing import binding
from policies.rules import BudgetRules, BudgetScope, BudgetWindow, OnExceed

Unit = Literal["nanousd", "requests", "tokens"]

KEPT_S = 2 * 86400.0
"""How long a meter outlives its window, for reports and late settlements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """At most `limit` units in one window. `key` is the Redis key; `name` is fit for a client's error and a report."""

    key: str
    name: str
    unit: Unit
    limit: int
    ends_at: float
    is_hard: bool
    on_exceed: tuple[OnExceed, ...] = ("refuse",)


class Who(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whose request it is, as far as meters care."""

    tenant: str
    key_id: str
    session: str


class Calendar:
    """Remembers the windows that are open, since every request asks for the same few."""

    def __init__(self) -> None:
        self._open: dict[tuple[BudgetWindow, str], Window] = {}

    def window(self, now: float, window: BudgetWindow, tz: str) -> Window:
        """Return the window that `now` is in."""
        found = self._open.get((window, tz))
        # A clock that was set back must not charge yesterday's requests to tomorrow's window.
        if found is None or now >= found.ends_at or now < found.ends_at - _LONGEST_S[window]:
            found = self._open[window, tz] = window_at(now, window, tz)
        return found


_LONGEST_S = {
    "minute": 60.0,
    "hour": 3600.0,
    "day": 25 * 3600.0,
    "week": 7 * 86400 + 3600.0,
    "month": 31 * 86400 + 3600.0,
}


def tag(policy: str) -> str:
    """Return the hash tag of a policy's meters: all of them live in one slot, so that one script sees them."""
    return f"{{b:{policy}}}"


def budget_meters(
    policy: Policy, route_class: RouteClass, who: Who, *, now: float, calendar: Calendar
) -> tuple[Meter, ...]:
    """Return the meters that a provider call runs: every budget that applies, then the token limits."""
    meters = [
        _budget_meter(policy.name, rules, who, now=now, calendar=calendar)
        for rules in binding(policy.budgets, route_class.route.name)
    ]
    for rules in policy.rates:
        if rules.tokens_per_minute is not None:
            limit = rules.tokens_per_minute
            meters.append(_rate_meter(policy.name, rules.scope, who, "tokens", limit, now=now, calendar=calendar))
    return tuple(meters)


def rate_meters(policy: Policy, who: Who, *, now: float, calendar: Calendar) -> tuple[Meter, ...]:
    """Return the meters that every request runs, a cached one too: the request limits."""
    return tuple(
        _rate_meter(policy.name, rules.scope, who, "requests", rules.requests_per_minute, now=now, calendar=calendar)
        for rules in policy.rates
        if rules.requests_per_minute is not None
    )


def daily_meter(policy: str, purpose: str, limit_nanousd: int, *, now: float, calendar: Calendar) -> Meter:
    """Return the meter of what is spent beside users' requests (`warming`, `shadow`), by the UTC day."""
    window = calendar.window(now, "day", "UTC")
    return Meter(
        key=f"foreword:{tag(policy)}:nanousd:{purpose}:day:{window.label}",
        name=f"{purpose} per day",
        unit="nanousd",
        limit=limit_nanousd,
        ends_at=window.ends_at,
        is_hard=True,
    )


def _budget_meter(policy: str, rules: BudgetRules, who: Who, *, now: float, calendar: Calendar) -> Meter:
    window = calendar.window(now, rules.window, rules.tz)
    whose = _whose(rules.scope, who, rules.route or "", policy)
    zone = "" if rules.tz == "UTC" else f":{quote(rules.tz, safe='')}"
    return Meter(
        key=f"foreword:{tag(policy)}:nanousd:{rules.scope}:{whose}:{rules.window}{zone}:{window.label}",
        name=f"{rules.scope} {rules.route} per {rules.window}" if rules.route else f"{rules.scope} per {rules.window}",
        unit="nanousd",
        limit=rules.limit_nanousd,
        ends_at=window.ends_at,
        is_hard=rules.is_hard,
        on_exceed=rules.on_exceed,
    )


def _rate_meter(
    policy: str, scope: Literal["key", "tenant"], who: Who, unit: Unit, limit: int, *, now: float, calendar: Calendar
) -> Meter:
    window = calendar.window(now, "minute", "UTC")
    return Meter(
        key=f"foreword:{tag(policy)}:{unit}:{scope}:{_whose(scope, who, '', policy)}:minute:{window.label}",
        name=f"{unit} of the {scope} per minute",
        unit=unit,
        limit=limit,
        ends_at=window.ends_at,
        is_hard=False,
    )


def _whose(scope: BudgetScope, who: Who, route: str, policy: str) -> str:
    """Return whose meter it is, without the letters that keys and records are cut at; sessions are clients' words."""
    if scope == "session":
        return hashlib.sha256(f"{who.tenant}\0{who.session}".encode()).hexdigest()[:32]
    named = {"tenant": who.tenant, "key": who.key_id, "route": route, "policy": policy}
    return quote(named[scope], safe="")


def unbounded(meters: Iterable[Meter]) -> tuple[Meter, ...]:
    """Return the hard money meters: what cannot be bounded beforehand may not run them."""
    return tuple(meter for meter in meters if meter.unit == "nanousd" and meter.is_hard)
