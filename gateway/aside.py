"""Calls beside users' requests, each within a daily budget of its purpose: nobody waits for them or sees them.

Their answers are stored nowhere; what they took and cost is in their Outcomes. Made at the lowest priority. Must not
decide which requests get one: shadow.py and judge.py do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from gateway.budgets.books import Budgets
from gateway.budgets.bound import size_of
from gateway.budgets.meters import Calendar, daily_meter, tag
from gateway.budgets.pool import Reservation
from gateway.cache.flight import Flight
from gateway.delivery import deliver
from gateway.errors import RequestFailed
from gateway.ports import Clock
from gateway.supervisor import Supervisor
from gateway.trail import Ask, CacheControl, Trail
from policies.bounds import plan_nanousd
from policies.decide import may_have
from policies.model import Catalogue, Plan, Policy, RequestFacts, RouteClass
from router.facts import facts_of
from router.types import ChatRequest

Purpose = Literal["shadow", "judge"]
Start = Callable[[Ask, Trail], Flight]
"""Begins the call that a trail's plan describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asides:
    """Makes the calls of one worker; holds no state but which windows are open."""

    budgets: Budgets
    clock: Clock
    catalogue: Callable[[], Catalogue]
    supervisor: Supervisor
    calendar: Calendar = field(default_factory=Calendar)

    def may_ask(self, group: str, route_class: RouteClass) -> bool:
        """Whether this request's text may go to `group`: the key's allow list and the route's bind copies too."""
        card = self.catalogue().get(group)
        return card is not None and may_have(card, route_class)

    async def ask(self, asked: Trail, *, purpose: Purpose, limit_nanousd_day: int, start: Start) -> Flight | None:
        """Make the call of `asked` and read its answer to the end; None where there is no money for it today."""
        plan, policy = asked.plan, asked.policy
        assert plan is not None
        assert policy is not None
        size = size_of(asked.ask.request, output_cap=plan.max_output_tokens)
        most = plan_nanousd(plan.candidates, self.catalogue(), size, attempts=1)
        if most is None:
            return None
        meter = daily_meter(policy.name, purpose, limit_nanousd_day, now=self.clock.now(), calendar=self.calendar)
        reservation = await self.budgets.reserve(tag(policy.name), (meter,), (most,))
        if not isinstance(reservation, Reservation):
            return None
        try:
            return await _answered(asked, start)
        finally:
            cost = asked.cost_nanousd()
            self.budgets.settle(reservation, (most if cost is None else cost,))

    def trail(self, trail: Trail, plan: Plan, *, purpose: Purpose, request: ChatRequest | None = None) -> Trail:
        """Return the record of a call beside `trail`'s request, of the same words or of `request`."""
        ask = trail.ask
        copied = replace(
            ask,
            origin=purpose,
            request=request or ask.request,
            request_id=f"{ask.request_id[:57]}-{purpose}",
            parent_request_id=ask.request_id,
            received_s=self.clock.monotonic(),
            cache_control=CacheControl(no_cache=True, no_store=True),
            on_first_token=None,
            spending=None,
            recalled=None,
        )
        return Trail(
            ask=copied,
            clock=self.clock,
            sink=trail.sink,
            price_of=trail.price_of,
            started_at=self.clock.now(),
            facts=trail.facts if request is None else _facts(copied),
            policy=trail.policy,
            arm=trail.arm,
            route_class=trail.route_class,
            plan=plan,
        )


def alone(plan: Plan, group: str, *, purpose: Purpose) -> Plan:
    """Return the plan of one call of `group` within `plan`'s limits."""
    return replace(
        plan,
        candidates=(group,),
        max_attempts=1,
        hedge=None,
        cascade=None,
        assemble=True,
        service_tier="",
        reason=f"{purpose}:{group}",
    )


def group_of(policy: Policy, name: str) -> str:
    """Return the group that an alias or a group's own name stands for."""
    return policy.models.get(name, name)


def _facts(ask: Ask) -> RequestFacts:
    return facts_of(
        ask.request,
        tenant=ask.caller.tenant,
        session=ask.session,
        tags=ask.tags,
        allowed_models=ask.caller.allowed_models,
    )


async def _answered(trail: Trail, start: Start) -> Flight | None:
    """Read the answer to its end; a failure, or being cancelled, is in its Outcome."""
    flight = start(trail.ask, trail)
    try:
        reply = await deliver(trail.ask, trail, flight.follow(deadline_s=trail.plan.deadline_s if trail.plan else None))
    except RequestFailed as failure:
        trail.close_failed(failure)
        return None
    if reply.blocks is not None:
        async with aclosing(reply.blocks) as blocks:
            async for _ in blocks:
                pass
    return flight
