"""What the flow asks of budgets: may this request be counted, may this plan be spent on, and what it came to.

Turns policies and plans into meters and amounts; the books hold the units. Raises RequestFailed with words for the
client; never decides which model is good enough (policies.decide does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.budgets.books import Budgets, Exceeded, Unavailable
from gateway.budgets.bound import Charges, Size, charges_of, most_nanousd, plan_nanousd, size_of
from gateway.budgets.meters import Calendar, Meter, Who, budget_meters, rate_meters, tag, unbounded
from gateway.budgets.pool import Reservation
from gateway.budgets.spending import Spending
from gateway.budgets.tabs import Tab, Tabs
from gateway.errors import RequestFailed
from gateway.ports import Clock
from policies.decide import output_cap
from policies.model import Catalogue, Plan, Policy, RouteClass
from router.types import ChatRequest, Usage

LOCAL_RETRY_S: Final = 1.0
"""When to ask again while Redis is away."""
MOST_PLANS: Final = 1024


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider call may spend. Settle it once; `plan` may be narrower than the one asked for.

    `pledged_nanousd` is of the warmer's purse, where it asks. The first `money` of the reserved amounts are
    nano-dollars, the others tokens."""

    plan: Plan
    pledged_nanousd: int = 0
    reservation: Reservation | None = None
    money: int = 0


class Desk:
    """Stateless beside the calendar and open tabs; `max_attempts` is what the engine makes of one request at most."""

    def __init__(
        self, budgets: Budgets, clock: Clock, *, catalogue: Callable[[], Catalogue], max_attempts: int
    ) -> None:
        self._budgets = budgets
        self._clock = clock
        self._catalogue = catalogue
        self._max_attempts = max_attempts
        self._calendar = Calendar()
        self._tabs = Tabs(budgets)
        self._priced: Catalogue = {}
        self._known: dict[tuple[str, ...], Charges] = {}

    def admit_at_hand(self, policy: Policy, *, tenant: str, key_id: str, spending: Spending) -> bool:
        """Count one request against what this worker has of the request limits; False, and nothing is counted, where
        that is not enough: ask `admit`."""
        tab = self._tabs.find((policy.name, policy.version, tenant, key_id), self._clock.now())
        if tab is None or not tab.pool.spend(tab.ones):
            return False
        _note(spending, tab)
        return True

    async def admit(self, policy: Policy, who: Who, spending: Spending) -> None:
        """Count one request against the request limits. Raises RequestFailed (429) with the time of the next window."""
        now, key = self._clock.now(), (policy.name, policy.version, who.tenant, who.key_id)
        tab = self._tabs.find(key, now)
        if tab is None:
            meters = rate_meters(policy, who, now=now, calendar=self._calendar)
            tab = self._tabs.open(key, tag(policy.name), meters, now=now)
        refused = await self._budgets.spend(tab.tag, tab.meters, tab.ones) if tab.meters else None
        self._note_anew(spending, tab)
        if refused is not None:
            raise self._refused(refused)

    def hold_at_hand(
        self,
        policy: Policy,
        route_class: RouteClass,
        plan: Plan,
        request: ChatRequest,
        *,
        key_id: str,
        spending: Spending,
    ) -> Hold | None:
        """Reserve the most that `plan` can cost out of what this worker has; None, and nothing is reserved, where that
        is not enough, or something has to be found out first: ask `hold`."""
        tab = self._tabs.find(_key(policy, route_class, key_id), self._clock.now())
        if tab is None or plan.cascade is not None:
            return None
        if not tab.meters:
            return Hold(plan=plan)
        size = size_of(request, output_cap=output_cap(route_class.route, route_class.facts))
        cost: int | None = 0
        if tab.money:
            cost = most_nanousd(self._charges(plan.candidates), size, plan.max_attempts or self._max_attempts)
        if size is None or cost is None:
            return None
        found = tab.pool.take((cost,) * tab.money + (size.tokens,) * tab.others)
        if found is None:
            return None
        _note(spending, tab)
        return Hold(plan=plan, reservation=found, money=tab.money)

    async def hold(
        self,
        policy: Policy,
        route_class: RouteClass,
        plan: Plan,
        request: ChatRequest,
        *,
        key_id: str,
        spending: Spending,
    ) -> Hold:
        """Reserve the most that `plan` can cost. Where that is too much, fewer attempts and then fewer models are
        tried; raises RequestFailed (429 budget_exceeded, 503 without Redis) where not even one attempt fits."""
        now, key = self._clock.now(), _key(policy, route_class, key_id)
        tab = self._tabs.find(key, now)
        if tab is None:
            who = Who(tenant=route_class.facts.tenant, key_id=key_id, session=route_class.facts.session)
            meters = budget_meters(policy, route_class, who, now=now, calendar=self._calendar)
            tab = self._tabs.open(key, tag(policy.name), meters, now=now)
        if not tab.meters:
            return Hold(plan=plan)
        size = size_of(request, output_cap=output_cap(route_class.route, route_class.facts))
        found: Exceeded | Unavailable | None = None
        for narrower in self._narrowing(plan, tab.meters, size):
            amounts = self._amounts(tab, narrower, size, route_class)
            answer = await self._budgets.reserve(tab.tag, tab.meters, amounts)
            if isinstance(answer, Reservation):
                self._note_anew(spending, tab)
                return Hold(plan=narrower, reservation=answer, money=tab.money)
            found = answer
            if isinstance(answer, Unavailable) or answer.meter.unit != "nanousd":
                break
        self._note_anew(spending, tab)
        assert found is not None
        raise self._refused(found)

    def settle(self, hold: Hold, *, cost_nanousd: int | None, usage: Usage) -> None:
        """Book what a call came to; a cost that nobody knows is booked as the most it could be, never as 0."""
        reservation, money = hold.reservation, hold.money
        if reservation is None:
            return
        amounts, tokens = reservation.amounts, usage.input_tokens + usage.output_tokens
        costs = amounts[:money] if cost_nanousd is None else (cost_nanousd,) * money
        reservation.pool.settle(reservation, costs + (tokens,) * (len(amounts) - money))

    def _narrowing(self, plan: Plan, meters: tuple[Meter, ...], size: Size | None) -> Iterator[Plan]:
        """Yield the plan as it is, then with fewer attempts, then with its first model alone, then with its cheapest.

        Every model of a plan has passed the route's quality floor, or the file says that it need not.
        """
        wide = plan.max_attempts or self._max_attempts
        if plan.cascade is not None:
            # Both of its legs, or its last word alone.
            yield replace(plan, max_attempts=max(2, wide))
            yield replace(plan, max_attempts=1, candidates=(plan.cascade.then,), cascade=None, hedge=None)
            return
        yield plan  # without a number of its own it has the engine's, which is `wide`
        if wide > 2:
            yield replace(plan, max_attempts=2)
        if wide > 1 or len(plan.candidates) > 1:
            yield replace(plan, max_attempts=1, candidates=plan.candidates[:1], hedge=None)
        if any("downgrade_to_floor" in meter.on_exceed for meter in meters):
            cheapest = self._cheapest(plan, size)
            if cheapest is not None and cheapest != plan.candidates[0]:
                reason = f"budget:{cheapest}"
                yield replace(plan, max_attempts=1, candidates=(cheapest,), hedge=None, reason=reason)

    def _cheapest(self, plan: Plan, size: Size | None) -> str | None:
        """Return the plan's model with the lowest bound; None where none has one."""
        bounds = [(plan_nanousd((group,), self._catalogue(), size, attempts=1), group) for group in plan.candidates]
        known = [(bound, group) for bound, group in bounds if bound is not None]
        return min(known)[1] if known else None

    def _amounts(self, tab: Tab, plan: Plan, size: Size | None, route_class: RouteClass) -> tuple[int, ...]:
        """Return what to reserve of each meter. Raises RequestFailed where a hard budget needs a bound there is not."""
        cost = most_nanousd(self._charges(plan.candidates), size, plan.max_attempts or self._max_attempts)
        if cost is None and unbounded(tab.meters):
            raise RequestFailed(
                "this request's cost has no upper bound (no known price, no max_tokens, or a server-side tool or file),"
                " and a hard budget applies to it",
                status=400,
                type="invalid_request_error",
                code="cost_unbounded",
                should_retry=False,
            )
        # Where nothing bounds the tokens the estimate is taken, so that a limit works.
        tokens = route_class.facts.input_tokens if size is None else size.tokens
        return (cost or 0,) * tab.money + (tokens,) * tab.others

    def _note_anew(self, spending: Spending, tab: Tab) -> None:
        """Write down what is left after waiting: meanwhile the pool may be another."""
        self._tabs.renew(tab)
        _note(spending, tab)

    def _charges(self, groups: tuple[str, ...]) -> Charges | None:
        """Return what these models charge at most, reckoned once while the catalogue stays the same."""
        catalogue = self._catalogue()
        if catalogue is self._priced and (known := self._known.get(groups)) is not None:
            return known
        if catalogue is not self._priced or len(self._known) >= MOST_PLANS:
            self._priced, self._known = catalogue, {}
        found = charges_of(groups, catalogue)
        if found is not None:
            self._known[groups] = found
        return found

    def _refused(self, found: Exceeded | Unavailable) -> RequestFailed:
        meter = found.meter
        if isinstance(found, Unavailable):
            return RequestFailed(
                f"the budget ({meter.name}) cannot be checked now, and it is a hard one",
                status=503,
                type="server_error",
                code="budget_unavailable",
                retry_after_s=LOCAL_RETRY_S,
            )
        wait_s = max(0.0, meter.ends_at - self._clock.now())
        if meter.unit != "nanousd":
            return RequestFailed(
                f"limit reached: {meter.limit} {meter.name}; the gateway's limit, not the provider's",
                status=429,
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after_s=wait_s,
            )
        return RequestFailed(
            f"budget used up: {meter.limit / 1e9:g} USD, {meter.name}; {max(0, found.free) / 1e9:g} USD are left,"
            " less than this request may cost",
            status=429,
            type="rate_limit_error",
            code="budget_exceeded",
            retry_after_s=wait_s,
            should_retry=False,
        )


def _key(policy: Policy, route_class: RouteClass, key_id: str) -> tuple[str, ...]:
    """Return what tells those apart who run other meters; all sessions share those of a policy that does not count by
    session."""
    facts, session = route_class.facts, ""
    if facts.session and any(rules.scope == "session" for rules in policy.budgets):
        session = facts.session
    return route_class.route.name, policy.name, policy.version, facts.tenant, key_id, session


def _note(spending: Spending, tab: Tab) -> None:
    """Write down what is left, of the tightest meter of each unit."""
    pool, at = tab.pool, tab.money
    if at:
        left = pool.free[0] + pool.room[0] - pool.offline[0] if at == 1 else min(pool.remaining()[:at])
        known = spending.budget_remaining_nanousd
        if known is None or left < known:
            spending.budget_remaining_nanousd = left if left > 0 else 0  # noqa: FURB136 - max() costs four times as much
    if tab.others == 1:
        left = pool.free[at] + pool.room[at] - pool.offline[at]
    elif tab.others:
        left, at = min((left, at) for at, left in enumerate(pool.remaining()) if at >= tab.money)
    else:
        return
    told = spending.requests if tab.is_of_requests else spending.tokens
    if told is None or left < told[1]:
        told = tab.limits[at], left if left > 0 else 0, tab.meters[at].ends_at  # noqa: FURB136
        if tab.is_of_requests:
            spending.requests = told
        else:
            spending.tokens = told
