"""What a budget leaves of a plan: no other model, never more than is free, and nothing refused that had room.

Random plans, prices and limits, on a real Redis and a real Cluster.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from gateway.budgets.books import Budgets
from gateway.budgets.bound import size_of
from gateway.budgets.desk import Desk, Hold
from gateway.budgets.spending import Spending
from gateway.errors import RequestFailed
from gateway.stores.redis import RedisStore
from policies.bounds import plan_nanousd
from policies.decide import choose, match
from policies.model import Catalogue, Plan, Policy, Route, RouteClass, View
from policies.rules import AcceptRules, BudgetRules, CascadeRules, OnExceed
from router.types import Usage
from tests.clock import FakeClock
from tests.unit.gateway.budgets.test_bound import request
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, price

GROUPS = ("a", "b", "c", "d")
MOST = 6
ASKED = request()
CASES = 80
_names = count()


def a_route(rng: random.Random) -> Route:
    """Return a route over some of the groups, a cascade in one of four."""
    groups = tuple(rng.sample(GROUPS, rng.randint(1, 4)))
    cascade = None
    if len(groups) > 1 and rng.random() < 0.25:
        cascade = CascadeRules(first=groups[0], then=groups[1], accept=AcceptRules(no_refusal=True))
    return replace(ROUTE, candidates=groups, max_output_tokens=rng.randint(1, 500), cascade=cascade)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request under one budget of `limit` nano-dollars."""

    limit: int
    downgrades: bool
    cards: Catalogue
    policy: Policy
    route_class: RouteClass
    plan: Plan

    def most(self, groups: tuple[str, ...], attempts: int) -> int:
        """Return the bound of so many attempts at these models."""
        size = size_of(ASKED, output_cap=self.route_class.route.max_output_tokens)
        found = plan_nanousd(groups, self.cards, size, attempts=attempts)
        assert found is not None
        return found


def a_case(rng: random.Random) -> Case:
    """Return a random one."""
    cards = catalogue(*(card(group, price(rng.uniform(0.01, 5), rng.uniform(0.01, 20))) for group in GROUPS))
    downgrades, limit = rng.random() < 0.5, int(10 ** rng.uniform(3, 8))
    then: tuple[OnExceed, ...] = ("downgrade_to_floor", "refuse") if downgrades else ("refuse",)
    rules = BudgetRules(scope="tenant", limit_nanousd=limit, window="day", on_exceed=then)
    name = f"narrow-{next(_names)}"
    policy = Policy(name=name, version="v", source="f", models={}, routes=(a_route(rng),), budgets=(rules,))
    route_class = match(policy, FACTS)
    plan = choose(route_class, View(catalogue=cards))
    assert isinstance(plan, Plan)
    return Case(limit=limit, downgrades=downgrades, cards=cards, policy=policy, route_class=route_class, plan=plan)


async def held(desk: Desk, case: Case) -> Hold | RequestFailed:
    """Ask for room."""
    try:
        return await desk.hold(case.policy, case.route_class, case.plan, ASKED, key_id="k", spending=Spending())
    except RequestFailed as failure:
        return failure


async def test_what_is_left_of_a_plan_is_part_of_it_and_is_paid_for(store: RedisStore) -> None:
    rng, clock = random.Random(6), FakeClock()
    cases = [a_case(rng) for _ in range(CASES)]
    narrowed = refused = 0
    for case in cases:
        plan, known = case.plan, case.cards
        desk = Desk(Budgets(store, clock), clock, catalogue=partial(dict, known), max_attempts=MOST)
        found = await held(desk, case)
        if isinstance(found, RequestFailed):
            refused += 1
            assert found.code == "budget_exceeded"
            last = plan.candidates[:1] if plan.cascade is None else (plan.cascade.then,)
            assert case.most(last, 1) > case.limit
            if case.downgrades and plan.cascade is None:
                assert min(case.most((group,), 1) for group in plan.candidates) > case.limit
            continue
        left, attempts = found.plan, found.plan.max_attempts or MOST
        assert set(left.candidates) <= set(plan.candidates)
        assert found.reservation is not None
        (amount,) = found.reservation.amounts
        assert amount == case.most(left.candidates, attempts)
        assert amount <= case.limit
        assert left.cascade is None or (attempts >= 2 and left.cascade == plan.cascade)
        narrowed += left != plan
        desk.settle(found, cost_nanousd=rng.randint(0, amount), usage=Usage())
    assert min(narrowed, refused, CASES - narrowed - refused) > 5  # the cases are of all sorts
