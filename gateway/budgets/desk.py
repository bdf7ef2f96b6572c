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
from gateway.budgets.bound import Size, plan_nanousd, size_of, tokens_of
from gateway.budgets.meters import Calendar, KnownMeters, Meter, Who, budget_meters, rate_meters, tag, unbounded
from gateway.budgets.pool import Reservation
from gateway.budgets.spending import Spending
from gateway.errors import RequestFailed
from gateway.ports import Clock
from policies.decide import output_cap
from policies.model import Catalogue, Plan, Policy, RouteClass
from router.types import ChatRequest, Usage

LOCAL_RETRY_S: Final = 1.0
"""When to ask again while Redis is away."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider call may spend. Settle it once; `plan` may be narrower than the one asked for.

    `pledged_nanousd` is of the warmer's purse, where it asks."""

    plan: Plan
    pledged_nanousd: int = 0
    reservation: Reservation | None = None
    meters: tuple[Meter, ...] = ()
    amounts: tuple[int, ...] = ()


class Desk:
    """Stateless beside the calendar; `max_attempts` is what the engine makes of one request at most."""

    def __init__(
        self, budgets: Budgets, clock: Clock, *, catalogue: Callable[[], Catalogue], max_attempts: int
    ) -> None:
        self._budgets = budgets
        self._clock = clock
        self._catalogue = catalogue
        self._max_attempts = max_attempts
        self._calendar = Calendar()
        self._known = KnownMeters()

    async def admit(self, policy: Policy, who: Who, spending: Spending) -> None:
        """Count one request against the request limits. Raises RequestFailed (429) with the time of the next window."""
        if not policy.rates:
            return
        now = self._clock.now()
        meters = self._known.of(
            ("", policy.name, policy.version, who.tenant, who.key_id),
            now,
            lambda: rate_meters(policy, who, now=now, calendar=self._calendar),
        )
        if not meters:
            return
        refused = await self._budgets.spend(tag(policy.name), meters, (1,) * len(meters))
        self._note(spending, policy, meters)
        if refused is not None:
            raise self._refused(refused)

    async def hold(
        self,
        policy: Policy,
        route_class: RouteClass,
        plan: Plan,
        request: ChatRequest,
        *,
        who: Who,
        spending: Spending,
    ) -> Hold:
        """Reserve the most that `plan` can cost. Where that is too much, fewer attempts and then fewer models are
        tried; raises RequestFailed (429 budget_exceeded, 503 without Redis) where not even one attempt fits."""
        if not policy.budgets and not policy.rates:
            return Hold(plan=plan)
        now = self._clock.now()
        meters = self._known.of(
            (route_class.route.name, policy.name, policy.version, who.tenant, who.key_id, _told_apart(policy, who)),
            now,
            lambda: budget_meters(policy, route_class, who, now=now, calendar=self._calendar),
        )
        if not meters:
            return Hold(plan=plan)
        size = size_of(request, output_cap=output_cap(route_class.route, route_class.facts))
        found: Exceeded | Unavailable | None = None
        for narrower in self._narrowing(plan, meters, size):
            amounts = self._amounts(meters, narrower, size, route_class)
            answer = await self._budgets.reserve(tag(policy.name), meters, amounts)
            if isinstance(answer, Reservation):
                self._note(spending, policy, meters)
                return Hold(plan=narrower, reservation=answer, meters=meters, amounts=amounts)
            found = answer
            if isinstance(answer, Unavailable) or answer.meter.unit != "nanousd":
                break
        self._note(spending, policy, meters)
        assert found is not None
        raise self._refused(found)

    def settle(self, hold: Hold, *, cost_nanousd: int | None, usage: Usage) -> None:
        """Book what a call came to; a cost that nobody knows is booked as the most it could be, never as 0."""
        if hold.reservation is None:
            return
        tokens, actual = usage.input_tokens + usage.output_tokens, list(hold.amounts)
        for at, meter in enumerate(hold.meters):
            if meter.unit != "nanousd":
                actual[at] = tokens
            elif cost_nanousd is not None:
                actual[at] = cost_nanousd
        self._budgets.settle(hold.reservation, actual)

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
        catalogue = self._catalogue()
        bounds = [(plan_nanousd((group,), catalogue, size, attempts=1), group) for group in plan.candidates]
        known = [(bound, group) for bound, group in bounds if bound is not None]
        return min(known)[1] if known else None

    def _amounts(
        self, meters: tuple[Meter, ...], plan: Plan, size: Size | None, route_class: RouteClass
    ) -> tuple[int, ...]:
        """Return what to reserve of each meter. Raises RequestFailed where a hard budget needs a bound there is not."""
        attempts = plan.max_attempts or self._max_attempts
        cost = plan_nanousd(plan.candidates, self._catalogue(), size, attempts=attempts)
        if cost is None and unbounded(meters):
            raise RequestFailed(
                "this request's cost has no upper bound (no known price, no max_tokens, or a server-side tool or file),"
                " and a hard budget applies to it",
                status=400,
                type="invalid_request_error",
                code="cost_unbounded",
                should_retry=False,
            )
        tokens = tokens_of(size, input_estimate=route_class.facts.input_tokens)
        money = cost or 0
        return tuple([money if meter.unit == "nanousd" else tokens for meter in meters])

    def _note(self, spending: Spending, policy: Policy, meters: tuple[Meter, ...]) -> None:
        for meter, remaining in zip(meters, self._budgets.remaining(tag(policy.name), meters), strict=True):
            if meter.unit == "nanousd":
                known = spending.budget_remaining_nanousd
                if known is None or remaining < known:
                    spending.budget_remaining_nanousd = remaining
            elif meter.unit not in spending.limits or remaining < spending.limits[meter.unit][1]:
                spending.limits[meter.unit] = (meter.limit, remaining, meter.ends_at)

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


def _told_apart(policy: Policy, who: Who) -> str:
    """Return the session where a budget counts by it: all sessions share the meters of one that does not."""
    has_any = who.session != "" and any(rules.scope == "session" for rules in policy.budgets)
    return who.session if has_any else ""
