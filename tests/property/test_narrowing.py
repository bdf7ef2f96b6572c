"""What a budget leaves of a plan: no other model, never more than is free, and nothing refused that had room; and from
what was recorded of that the same is left again.

Random plans, prices and limits, on a real Redis and a real Cluster.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import get_args

import msgspec

from gateway.budgets.away import NoRedis
from gateway.budgets.books import Budgets
from gateway.budgets.bound import size_of
from gateway.budgets.desk import Desk, Hold
from gateway.budgets.spending import Spending
from gateway.errors import RequestFailed
from gateway.stores.redis import RedisStore
from policies.arrange import warming_plan
from policies.bounds import plan_nanousd
from policies.decide import choose, match
from policies.model import Catalogue, Plan, Policy, Route, RouteClass, View
from policies.narrowing import Cut, Headroom, Refusal, narrowed
from policies.rules import AcceptRules, BudgetRules, BudgetScope, CascadeRules, OnExceed, RateRules
from router.types import Usage
from tests.clock import FakeClock
from tests.unit.gateway.budgets.test_bound import request
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, price

GROUPS = ("a", "b", "c", "d")
MOST = 6
ASKED = request(n=2)
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
        assert_narrowed_again(found, case)
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


def assert_narrowed_again(found: Hold | RequestFailed, case: Case) -> Cut | None:
    """Narrow the plan again, from what the ledger would have of it; return the cut."""
    assert found.headroom is not None
    kept = Kept(headroom=found.headroom, cut=found.cut)
    kept = msgspec.json.decode(msgspec.json.encode(kept), type=Kept)
    size = size_of(ASKED, output_cap=case.route_class.route.max_output_tokens)
    assert kept.headroom.size(case.route_class) == size
    left, cut = narrowed(
        case.plan, kept.headroom, policy=case.policy, route_class=case.route_class, catalogue=case.cards
    )
    assert cut == kept.cut
    if isinstance(found, Hold):
        assert left == found.plan or (case.plan.cascade is None and left is case.plan is found.plan)
    else:
        assert left is None
        assert cut is not None
        assert cut.refusal == found.code
    return cut


class Kept(msgspec.Struct, omit_defaults=True):
    """The part of a ledger entry that this is about."""

    headroom: Headroom
    cut: Cut | None = None


def a_crowded_case(rng: random.Random) -> Case:
    """Return a case under one to three budgets, soft ones too, and perhaps a limit on tokens; its plan may be the
    warmer's, some of its models without a price."""
    case = a_case(rng)
    scopes: tuple[BudgetScope, ...] = ("tenant", "key", "policy")
    budgets = tuple(
        BudgetRules(
            scope=scope,
            limit_nanousd=int(case.limit * rng.uniform(0.2, 5)),
            window="day",
            is_hard=rng.random() < 0.7,
            on_exceed=rng.choice((("refuse",), ("downgrade_to_floor", "refuse"))),
        )
        for scope in rng.sample(scopes, rng.randint(1, 3))
    )
    tokens = rng.choice((None, 10 * rng.randint(20, 400)))
    rates = () if tokens is None else (RateRules(scope="key", tokens_per_minute=tokens),)
    cards = {group: one if rng.random() < 0.9 else replace(one, price=None) for group, one in case.cards.items()}
    plan = case.plan
    if rng.random() < 0.2:
        plan = warming_plan(plan, service_tier="", most_output=None)
    return replace(case, policy=replace(case.policy, budgets=budgets, rates=rates), cards=cards, plan=plan)


async def test_what_crowds_leave_of_budgets_is_narrowed_again_from_the_record(store: RedisStore) -> None:
    rng, clock = random.Random(11), FakeClock()
    kinds: Counter[str] = Counter()
    for number in range(CASES):
        case = a_crowded_case(rng)
        runner = NoRedis() if number % 8 == 0 else store
        desk = Desk(
            Budgets(runner, clock), clock, catalogue=partial(lambda cards: cards, case.cards), max_attempts=MOST
        )
        for _ in range(3):
            found = await asyncio.gather(*(held(desk, case) for _ in range(4)))
            at_hand = desk.hold_at_hand(
                case.policy, case.route_class, case.plan, ASKED, key_id="k", spending=Spending()
            )
            for hold in (*found, *([at_hand] if at_hand is not None else ())):
                cut = assert_narrowed_again(hold, case)
                kinds["" if cut is None else cut.refusal or "narrowed"] += 1
                if isinstance(hold, Hold) and hold.reservation is not None:
                    desk.settle(hold, cost_nanousd=rng.randint(0, hold.reservation.amounts[0]), usage=Usage())
    assert set(kinds) == {"", "narrowed", *get_args(Refusal)}
    assert min(kinds.values()) > 5, kinds
