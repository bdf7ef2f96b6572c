"""What budgets leave of a plan: fewer attempts, then its first model alone, then its cheapest, then nothing. Pure.

The one owner of that rule: whoever reserves asks it before a call, and replay asks it again with what was recorded.
Must not judge models: each of a plan has passed its route's floor, or the file says that it need not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from policies.bounds import Size, plan_nanousd, size_with
from policies.decide import output_cap
from policies.expected_cost import usd
from policies.model import Catalogue, Plan, Policy, RouteClass
from policies.rules import BudgetRules, RateRules

Refusal = Literal["", "cost_unbounded", "budget_exceeded", "rate_limit_exceeded", "budget_unavailable"]
"""Why nothing is left of a plan, as the client's error code says it."""


class Headroom(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What budgets had left for one plan, and how large its request is: recorded, so that it can be narrowed again.

    `left_nanousd` is the most that the tightest budget would have granted, as far as was known; None where no budget
    was asked. `budget` names the last one that said no, to the plan or to a part of it; `tokens_left` is of a limit on
    tokens that did, and `is_away` says that a hard one could not be asked. `input_tokens` are the most that one call
    may read without its answer's cap, None where nobody can tell. `attempts` are the engine's for a plan without any.
    """

    left_nanousd: int | None = None
    input_tokens: int | None = None
    choices: int = 1
    attempts: int = 6
    budget: str = ""
    tokens_left: int | None = None
    is_away: bool = False

    def size(self, route_class: RouteClass) -> Size | None:
        """Return the most that a call may take on this route."""
        if self.input_tokens is None:
            return None
        cap, dialect = output_cap(route_class.route, route_class.facts), route_class.facts.dialect
        return size_with(self.input_tokens, output_cap=cap, choices=self.choices, dialect=dialect)


class Cut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a plan that did not stay as it was chosen: its models and attempts, or why it was refused."""

    candidates: tuple[str, ...] = ()
    attempts: int | None = None
    refusal: Refusal = ""


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and the most that it can cost; None where that has no bound."""

    plan: Plan
    most_nanousd: int | None


def binding(budgets: Iterable[BudgetRules], route: str) -> tuple[BudgetRules, ...]:
    """Return the budgets that a call on the route is booked to."""
    return tuple([rules for rules in budgets if rules.scope != "route" or rules.route == route])


def ladder(plan: Plan, size: Size | None, catalogue: Catalogue, *, attempts: int, downgrades: bool) -> tuple[Rung, ...]:
    """Return the plan as it is, then with fewer attempts, then with its first model alone; its cheapest where one of
    the budgets `downgrades`. `attempts` is the engine's number, for a plan that has none of its own."""

    def rung(plan: Plan) -> Rung:
        most = plan_nanousd(plan.candidates, catalogue, size, attempts=plan.max_attempts or attempts)
        return Rung(plan=plan, most_nanousd=most)

    wide = plan.max_attempts or attempts
    if plan.cascade is not None:
        # Both of its legs, or its last word alone.
        last = replace(plan, max_attempts=1, candidates=(plan.cascade.then,), cascade=None, hedge=None)
        return rung(replace(plan, max_attempts=max(2, wide))), rung(last)
    rungs = [rung(plan)]
    if wide > 2:
        rungs.append(rung(replace(plan, max_attempts=2)))
    if wide > 1 or len(plan.candidates) > 1:
        rungs.append(rung(replace(plan, max_attempts=1, candidates=plan.candidates[:1], hedge=None)))
    cheapest = _cheapest(plan, size, catalogue) if downgrades else None
    if cheapest is not None and cheapest != plan.candidates[0]:
        reason = f"budget:{cheapest}"
        rungs.append(rung(replace(plan, max_attempts=1, candidates=(cheapest,), hedge=None, reason=reason)))
    return tuple(rungs)


def widest(rungs: tuple[Rung, ...], left_nanousd: int | None) -> Rung | None:
    """Return the first rung that what is left covers, None where none is; what has no bound takes nothing of it.

    None left: nothing is known, so that the plan stays as it is."""
    for rung in rungs:
        if left_nanousd is None or (rung.most_nanousd or 0) <= left_nanousd:
            return rung
    return None


def cut_of(rungs: tuple[Rung, ...], rung: Rung) -> Cut | None:
    """Return what a rung leaves of the plan; None: all of it."""
    plan = rung.plan
    return None if rung is rungs[0] else Cut(candidates=plan.candidates, attempts=plan.max_attempts)


def narrowed(
    plan: Plan, seen: Headroom, *, policy: Policy, route_class: RouteClass, catalogue: Catalogue
) -> tuple[Plan | None, Cut | None]:
    """Return what the policy's budgets leave of a plan where they have left what was `seen`, and what that cut off.

    No plan: it is refused. What was seen of budgets that the policy does not have says nothing.
    """
    rules = binding(policy.budgets, route_class.route.name)
    size, is_hard = seen.size(route_class), any(one.is_hard for one in rules)
    downgrades = any("downgrade_to_floor" in one.on_exceed for one in rules)
    rungs = ladder(plan, size, catalogue, attempts=seen.attempts, downgrades=downgrades)
    if is_hard and rungs[0].most_nanousd is None:
        return _refused("cost_unbounded")
    if is_hard and seen.is_away:
        return _refused("budget_unavailable")
    tokens = route_class.facts.input_tokens if size is None else size.tokens
    is_counted = any(one.tokens_per_minute is not None for one in policy.rates)
    if is_counted and seen.tokens_left is not None and tokens > seen.tokens_left:
        return _refused("rate_limit_exceeded")
    rung = widest(rungs, seen.left_nanousd if rules else None)
    return _refused("budget_exceeded") if rung is None else (rung.plan, cut_of(rungs, rung))


def moved(seen: Headroom, *, then: Policy, route_then: str, policy: Policy, route: str) -> Headroom:
    """Return what would have been left under `policy`, had its limits stood there `then` and the same been spent.

    Where both have several limits it is the least that any was raised by (or the most that one was lowered): which was
    the tightest is not known. Nothing is known where they have none in common.
    """
    money = _step(_limits(binding(then.budgets, route_then)), _limits(binding(policy.budgets, route)))
    tokens = _step(_token_limits(then.rates), _token_limits(policy.rates))
    left, tokens_left = seen.left_nanousd, seen.tokens_left
    return replace(
        seen,
        left_nanousd=None if left is None or money is None else left + money,
        tokens_left=None if tokens_left is None or tokens is None else tokens_left + tokens,
    )


def told(chosen: tuple[str, ...], seen: Headroom, cut: Cut) -> str:
    """Say in a line what a cut has left of a plan of the models `chosen`, and why."""
    by = f"by budget {seen.budget}" if seen.budget else "by a budget"
    if cut.refusal == "cost_unbounded":
        return "refused: its cost has no upper bound, and a hard budget applies"
    if cut.refusal == "budget_unavailable":
        return f"refused {by}: it could not be asked, and it is a hard one"
    if cut.refusal == "rate_limit_exceeded":
        return f"refused by limit {seen.budget}: {max(0, seen.tokens_left or 0)} tokens left"
    left = f"{usd(max(0, seen.left_nanousd or 0) * 1000)} USD left"
    if cut.refusal:
        return f"refused {by}: {left}"
    dropped = [group for group in chosen if group not in cut.candidates]
    kept = f"{', '.join(dropped)} dropped" if dropped else "no model dropped"
    return f"narrowed {by}: {kept}, {cut.attempts} attempt{'s' if cut.attempts != 1 else ''} at most, {left}"


def _refused(why: Refusal) -> tuple[None, Cut]:
    return None, Cut(refusal=why)


def _cheapest(plan: Plan, size: Size | None, catalogue: Catalogue) -> str | None:
    """Return the plan's model with the lowest bound; None where none has one."""
    bounds = [(plan_nanousd((group,), catalogue, size, attempts=1), group) for group in plan.candidates]
    known = [(bound, group) for bound, group in bounds if bound is not None]
    return min(known)[1] if known else None


def _limits(rules: Iterable[BudgetRules]) -> Mapping[tuple[str, ...], int]:
    return {(one.scope, one.route or "", one.window, one.tz): one.limit_nanousd for one in rules}


def _token_limits(rules: Iterable[RateRules]) -> Mapping[tuple[str, ...], int]:
    return {(one.scope,): one.tokens_per_minute for one in rules if one.tokens_per_minute is not None}


def _step(then: Mapping[tuple[str, ...], int], now: Mapping[tuple[str, ...], int]) -> int | None:
    return min((now[name] - limit for name, limit in then.items() if name in now), default=None)
