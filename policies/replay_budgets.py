"""Budgets run over recorded requests: how often one would have been used up. Pure; must not reserve, only count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from policies.model import Route
from policies.replay import Recorded
from policies.replay_report import Refusals
from policies.rules import BudgetRules

WindowOf = Callable[[BudgetRules, float], str]
"""Which window of the budget a Unix time is in."""


class Budgets:
    """What each holder of each budget has spent in each window; a window that has passed is forgotten."""

    def __init__(self, rules: tuple[BudgetRules, ...], window_of: WindowOf) -> None:
        self._rules = rules
        self._window_of = window_of
        self._spent: dict[tuple[int, str], tuple[str, int]] = {}
        self._refused: Counter[int] = Counter()
        self._holders: dict[int, set[str]] = defaultdict(set)

    def spend(self, entry: Recorded, route: Route, cost: int) -> bool:
        """Count `cost` against every budget that binds the request; return whether one of them has no room for it."""
        held: list[tuple[tuple[int, str], str, int]] = []
        is_refused = False
        for place, rule in enumerate(self._rules):
            holder = _holder(rule, entry, route)
            if holder is None:
                continue
            window = self._window_of(rule, entry.at)
            label, spent = self._spent.get((place, holder), (window, 0))
            spent = spent if label == window else 0
            if spent + cost > rule.limit_nanousd:
                self._refused[place] += 1
                self._holders[place].add(holder)
                is_refused = True
            held.append(((place, holder), window, spent))
        for key, window, spent in held:
            self._spent[key] = (window, spent if is_refused else spent + cost)
        return is_refused

    def refusals(self) -> tuple[Refusals, ...]:
        """Return one row for each budget that ran out."""
        return tuple(
            Refusals(
                budget=_name(rule),
                requests=self._refused[place],
                holders=len(self._holders[place]),
            )
            for place, rule in enumerate(self._rules)
            if self._refused[place]
        )


def _name(rule: BudgetRules) -> str:
    of = f" {rule.route}" if rule.route else ""
    return f"{rule.scope}{of}: {rule.limit_nanousd / 1e9:g} USD a {rule.window}"


def _holder(rule: BudgetRules, entry: Recorded, route: Route) -> str | None:
    """Return whose spend the rule bounds, None where it does not bind this request."""
    if rule.scope == "route":
        return rule.route if rule.route == route.name else None
    holders = {"tenant": entry.facts.tenant, "key": entry.key_id, "session": entry.facts.session, "policy": ""}
    return holders[rule.scope]
