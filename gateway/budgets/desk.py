"""What the flow asks of budgets: may this request be counted, may this plan be spent on, and what it came to.

Turns policies and plans into meters and amounts; the books hold the units. Raises RequestFailed with words for the
client; never decides which model is good enough (policies.decide does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.budgets.books import Budgets, Exceeded, Unavailable
from gateway.budgets.bound import size_of
from gateway.budgets.meters import Calendar, Who, budget_meters, rate_meters, tag, unbounded
from gateway.budgets.pool import Reservation
from gateway.budgets.refusals import failed, may_narrow, plan_failed, refused_by, size_seen
from gateway.budgets.spending import Spending
from gateway.budgets.tabs import Tab, Tabs
from gateway.ports import Clock
from policies.bounds import Charges, charges_of, most_nanousd
from policies.decide import output_cap
from policies.model import Catalogue, Plan, Policy, RouteClass
from policies.narrowing import Cut, Headroom, cut_of, ladder, widest
from router.types import ChatRequest, Usage

MOST_PLANS: Final = 1024


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider call may spend. Settle it once; `plan` may be narrower than the one asked for.

    `pledged_nanousd` is of the warmer's purse, where it asks. The first `money` of the reserved amounts are
    nano-dollars, the others tokens. `headroom` is what was seen of budgets, None where none applies; `cut` what they
    took off the plan."""

    plan: Plan
    pledged_nanousd: int = 0
    reservation: Reservation | None = None
    money: int = 0
    headroom: Headroom | None = None
    cut: Cut | None = None


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
            raise failed(refused, now=self._clock.now())

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
        cap = output_cap(route_class.route, route_class.facts)
        size = size_of(request, output_cap=cap)
        cost: int | None = 0
        if tab.money:
            cost = most_nanousd(self._charges(plan.candidates), size, plan.max_attempts or self._max_attempts)
        if size is None or cost is None:
            return None
        found = tab.pool.take((cost,) * tab.money + (size.tokens,) * tab.others)
        if found is None:
            return None
        left = _note(spending, tab)
        headroom = None
        if left is not None:
            # Written out: by `size_seen` and `replace` it takes three times as long.
            read = size.input - cap if cap else size.input
            headroom = Headroom(
                left_nanousd=left + cost, input_tokens=read, choices=size.choices, attempts=self._max_attempts
            )
        return Hold(plan=plan, reservation=found, money=tab.money, headroom=headroom)

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
        """Reserve the most that `plan` can cost. Where that is too much, the widest rung that fits into what is left is
        tried; raises RequestFailed (429 budget_exceeded, 503 without Redis) where not even one attempt fits."""
        tab = self._tab(policy, route_class, key_id)
        if not tab.meters:
            return Hold(plan=plan)
        cap = output_cap(route_class.route, route_class.facts)
        size = size_of(request, output_cap=cap)
        downgrades = any("downgrade_to_floor" in meter.on_exceed for meter in tab.meters)
        # All at once: while this waits, prices may change.
        rungs = ladder(plan, size, self._catalogue(), attempts=self._max_attempts, downgrades=downgrades)
        seen = size_seen(size, cap, attempts=self._max_attempts)
        if rungs[0].most_nanousd is None and unbounded(tab.meters):
            raise plan_failed(None, seen, now=self._clock.now())
        # Where nothing bounds the tokens the estimate is taken, so that a limit works.
        tokens = route_class.facts.input_tokens if size is None else size.tokens
        found: Exceeded | Unavailable | None = None
        while may_narrow(seen) and (rung := widest(rungs, seen.left_nanousd)) is not None:
            need = rung.most_nanousd or 0
            answer = await self._budgets.reserve(tab.tag, tab.meters, (need,) * tab.money + (tokens,) * tab.others)
            if isinstance(answer, Reservation):
                left = self._note_anew(spending, tab)
                if found is None and left is not None:
                    seen = replace(seen, left_nanousd=left + need)
                headroom, cut = seen if tab.money else None, cut_of(rungs, rung)
                return Hold(plan=rung.plan, reservation=answer, money=tab.money, headroom=headroom, cut=cut)
            found = answer
            seen = refused_by(answer, seen, need=need, tokens=tokens)
        self._note_anew(spending, tab)
        assert found is not None
        raise plan_failed(found, seen, now=self._clock.now())

    def settle(self, hold: Hold, *, cost_nanousd: int | None, usage: Usage) -> None:
        """Book what a call came to; a cost that nobody knows is booked as the most it could be, never as 0."""
        reservation, money = hold.reservation, hold.money
        if reservation is None:
            return
        amounts, tokens = reservation.amounts, usage.input_tokens + usage.output_tokens
        costs = amounts[:money] if cost_nanousd is None else (cost_nanousd,) * money
        reservation.pool.settle(reservation, costs + (tokens,) * (len(amounts) - money))

    def _tab(self, policy: Policy, route_class: RouteClass, key_id: str) -> Tab:
        now, key = self._clock.now(), _key(policy, route_class, key_id)
        tab = self._tabs.find(key, now)
        if tab is None:
            who = Who(tenant=route_class.facts.tenant, key_id=key_id, session=route_class.facts.session)
            meters = budget_meters(policy, route_class, who, now=now, calendar=self._calendar)
            tab = self._tabs.open(key, tag(policy.name), meters, now=now)
        return tab

    def _note_anew(self, spending: Spending, tab: Tab) -> int | None:
        """Write down what is left after waiting: meanwhile the pool may be another."""
        self._tabs.renew(tab)
        return _note(spending, tab)

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


def _key(policy: Policy, route_class: RouteClass, key_id: str) -> tuple[str, ...]:
    """Return what tells those apart who run other meters; all sessions share those of a policy that does not count by
    session."""
    facts, session = route_class.facts, ""
    if facts.session and any(rules.scope == "session" for rules in policy.budgets):
        session = facts.session
    return route_class.route.name, policy.name, policy.version, facts.tenant, key_id, session


def _note(spending: Spending, tab: Tab) -> int | None:
    """Write down what is left, of the tightest meter of each unit; return the nano-dollars, None without a budget."""
    pool, at, money = tab.pool, tab.money, None
    if at:
        money = pool.free[0] + pool.room[0] - pool.offline[0] if at == 1 else min(pool.remaining()[:at])
        if money < 0:  # noqa: PLR1730 - max() costs four times as much
            money = 0
        known = spending.budget_remaining_nanousd
        if known is None or money < known:
            spending.budget_remaining_nanousd = money
    if tab.others == 1:
        left = pool.free[at] + pool.room[at] - pool.offline[at]
    elif tab.others:
        left, at = min((left, at) for at, left in enumerate(pool.remaining()) if at >= tab.money)
    else:
        return money
    told = spending.requests if tab.is_of_requests else spending.tokens
    if told is None or left < told[1]:
        told = tab.limits[at], left if left > 0 else 0, tab.meters[at].ends_at  # noqa: FURB136
        if tab.is_of_requests:
            spending.requests = told
        else:
            spending.tokens = told
    return money
