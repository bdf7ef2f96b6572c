"""What the desk does out of what a worker has at hand is what it does by asking, and it says so in headers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.away import NoRedis
from gateway.budgets.books import Budgets
from gateway.budgets.desk import Desk, Hold
from gateway.budgets.meters import Who
from gateway.budgets.pool import Reservation
from gateway.budgets.spending import Spending
from gateway.dollars import usd
from gateway.waiting import Command
from policies.decide import choose, match
from policies.model import Plan, Policy, RouteClass, View
from policies.rules import BudgetRules, RateRules
from router.types import Usage
from tests.clock import FakeClock
from tests.unit.gateway.budgets.test_bound import request
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, price

CARDS = catalogue(card("a", price(1, 2)), card("b", price(3, 4)))
ASKED = request(n=2)
WHO = Who(tenant=FACTS.tenant, key_id="k", session="")
TENANT = BudgetRules(scope="tenant", limit_nanousd=10**12, window="day")
EVERYBODY = BudgetRules(scope="policy", limit_nanousd=10**11, window="month")
KEY = RateRules(scope="key", requests_per_minute=1000, tokens_per_minute=10**8)
ALL = RateRules(scope="tenant", requests_per_minute=900, tokens_per_minute=10**7)


class Plenty:
    """Stands for a Redis with room for whatever it is asked for, and counts the questions."""

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, *commands: Command) -> list[object]:
        self.calls += 1
        return [[1, *([10**9] * 2 * (int(command[2]) - 3))] for command in commands]


def a_policy(*, budgets: tuple[BudgetRules, ...] = (TENANT,), rates: tuple[RateRules, ...] = (KEY,)) -> Policy:
    """Return a policy over two models."""
    route = replace(ROUTE, candidates=("a", "b"), max_output_tokens=100)
    return Policy(
        name="p", version=f"{budgets}{rates}", source="f", models={}, routes=(route,), budgets=budgets, rates=rates
    )


def planned(policy: Policy) -> tuple[RouteClass, Plan]:
    """Return the route and the plan of the request."""
    route_class = match(policy, FACTS)
    plan = choose(route_class, View(catalogue=CARDS))
    assert isinstance(plan, Plan)
    return route_class, plan


class Counter:
    """A desk, and one request of one caller under one policy."""

    def __init__(self, policy: Policy) -> None:
        self.clock, self.redis, self.policy = FakeClock(), Plenty(), policy
        self.route_class, self.plan = planned(policy)
        self.budgets = Budgets(self.redis, self.clock)
        self.desk = Desk(self.budgets, self.clock, catalogue=lambda: CARDS, max_attempts=6)

    async def ask(self, spending: Spending) -> Hold:
        if self.policy.rates:
            await self.desk.admit(self.policy, WHO, spending)
        return await self.desk.hold(self.policy, self.route_class, self.plan, ASKED, key_id="k", spending=spending)

    def at_hand(self, spending: Spending) -> Hold | None:
        policy, desk = self.policy, self.desk
        if policy.rates and not desk.admit_at_hand(policy, tenant=FACTS.tenant, key_id="k", spending=spending):
            return None
        return desk.hold_at_hand(policy, self.route_class, self.plan, ASKED, key_id="k", spending=spending)

    def lists(self) -> list[tuple[list[int], ...]]:
        pools = self.budgets._pools.values()
        return [(pool.amounts, pool.room, pool.spent, pool.demand, pool.free) for pool in pools]


RULES = tuple(product(((), (TENANT,), (TENANT, EVERYBODY)), ((), (KEY,), (KEY, ALL))))


@pytest.mark.parametrize(("budgets", "rates"), [rules for rules in RULES if rules != ((), ())])
async def test_out_of_what_is_at_hand_the_same_is_reserved_booked_and_told(
    budgets: tuple[BudgetRules, ...], rates: tuple[RateRules, ...]
) -> None:
    asking, taking = (Counter(a_policy(budgets=budgets, rates=rates)) for _ in range(2))
    assert taking.at_hand(Spending()) is None
    for counter in (asking, taking):
        counter.desk.settle(await counter.ask(Spending()), cost_nanousd=1, usage=Usage())
    begun = taking.redis.calls
    for cost, tokens in ((None, 7), (12_345, 6)):
        told = Spending(), Spending()
        asked, taken = await asking.ask(told[0]), taking.at_hand(told[1])
        assert taken is not None
        assert (taken.plan, taken.money) == (asked.plan, asked.money)
        # Where no meter counts calls there is nothing to reserve.
        reserved = [() if hold.reservation is None else hold.reservation.amounts for hold in (asked, taken)]
        assert reserved[0] == reserved[1]
        for counter, hold in ((asking, asked), (taking, taken)):
            counter.desk.settle(hold, cost_nanousd=cost, usage=Usage(input_tokens=tokens))
        assert told[0].headers(now=0.0) == told[1].headers(now=0.0)
        assert asking.lists() == taking.lists()
        for amounts, room, spent, *_ in taking.lists():
            assert room == [amount - booked for amount, booked in zip(amounts, spent, strict=True)]  # nothing is held
    assert taking.redis.calls == begun


async def test_headers_tell_of_the_tightest_limit_and_budget() -> None:
    counter = Counter(a_policy(budgets=(TENANT, EVERYBODY), rates=(KEY, ALL)))
    spending = Spending()
    hold = await counter.ask(spending)
    assert hold.reservation is not None
    money, _, tokens, _ = hold.reservation.amounts
    # What the store says is free, and what the lease holds of it: less this request.
    told = spending.headers(now=counter.clock.now())
    assert told["x-foreword-budget-remaining-usd"] == usd(2 * 10**9 - money)
    assert told["x-ratelimit-remaining-tokens"] == str(2 * 10**9 - tokens)
    assert told["x-ratelimit-remaining-requests"] == str(2 * 10**9 - 1)
    assert told["x-ratelimit-reset-tokens"] == told["x-ratelimit-reset-requests"]
    pool = hold.reservation.pool
    pool.free[3], pool.free[1] = 50 - pool.room[3], 70 - pool.room[1]
    again = Spending()
    assert counter.at_hand(again) is not None
    told = again.headers(now=counter.clock.now())
    assert (told["x-ratelimit-limit-tokens"], told["x-ratelimit-remaining-tokens"]) == ("10000000", "0")
    assert told["x-foreword-budget-remaining-usd"] == usd(max(0, 70 - money))


async def test_a_window_that_has_ended_and_a_clock_set_back_are_not_at_hand() -> None:
    for wound_s in (60.0, -1.0):
        counter = Counter(a_policy())
        await counter.ask(Spending())
        assert counter.at_hand(Spending()) is not None
        counter.clock.wind(wound_s)
        assert counter.at_hand(Spending()) is None


async def test_what_is_taken_after_a_pool_was_forgotten_is_told_to_redis() -> None:
    counter = Counter(a_policy(rates=()))
    free = catalogue(card("a", price(0, 0)), card("b", price(0, 0)))
    counter.desk = Desk(counter.budgets, counter.clock, catalogue=lambda: free, max_attempts=6)
    old = (await counter.ask(Spending())).reservation
    assert old is not None
    old.pool.keep((0,))
    await counter.budgets.flush()
    assert old.pool.is_forgotten
    assert old.pool not in counter.budgets._pools.values()
    # Nothing is enough where it is free: it must be booked where a flush will find it all the same.
    again = counter.at_hand(Spending())
    assert again is not None
    counter.desk.settle(again, cost_nanousd=5, usage=Usage())
    assert [pool.spent for pool in counter.budgets._pools.values()] == [[5]]


async def test_a_policys_own_limit_holds_in_a_pool_that_two_versions_share() -> None:
    old, new = a_policy(rates=(KEY,)), a_policy(rates=(replace(KEY, requests_per_minute=5000),))
    counter = Counter(old)
    for policy in (old, new):
        await counter.desk.admit(policy, WHO, Spending())
    (pool,) = counter.budgets._pools.values()
    assert pool.meters[0].limit == 5000
    for policy, limit in ((old, 1000), (new, 5000)):
        spending = Spending()
        assert counter.desk.admit_at_hand(policy, tenant=FACTS.tenant, key_id="k", spending=spending)
        assert spending.headers(now=0.0)["x-ratelimit-limit-requests"] == str(limit)
        assert pool.meters[0].limit == limit  # what is asked of Redis next


async def test_new_prices_bound_the_next_request() -> None:
    counter, cards = Counter(a_policy(rates=())), [CARDS]
    counter.desk = Desk(counter.budgets, counter.clock, catalogue=lambda: cards[0], max_attempts=6)
    await counter.ask(Spending())
    first = counter.at_hand(Spending())
    cards[0] = catalogue(card("a", price(1, 2)), card("b", price(30, 40)))
    second = counter.at_hand(Spending())
    assert first is not None
    assert second is not None
    assert isinstance(first.reservation, Reservation)
    assert isinstance(second.reservation, Reservation)
    assert second.reservation.amounts == (10 * first.reservation.amounts[0],)
    cards[0] = catalogue(card("a"), card("b", price(3, 4)))
    assert counter.at_hand(Spending()) is None  # what has no known price is for `hold` to refuse


async def test_without_redis_and_a_share_nothing_is_at_hand() -> None:
    counter = Counter(a_policy())
    counter.budgets._store = NoRedis()
    assert not counter.desk.admit_at_hand(counter.policy, tenant=FACTS.tenant, key_id="k", spending=Spending())


@given(st.integers(0, 10**18))
def test_dollars_are_told_to_the_last_nanodollar(nanousd: int) -> None:
    whole, _, part = usd(nanousd).partition(".")
    assert (int(whole) * 10**9 + int(part), len(part), str(int(whole))) == (nanousd, 9, whole)
