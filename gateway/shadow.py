"""Copies of a share of requests to other models, within a budget of their own: nobody waits for them or sees them.

Their answers are stored nowhere; what they took and cost is in their Outcomes (origin `shadow`). Never in the way: a
copy is made after the answer, at the lowest priority, and dropped where anything is short.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import aclosing

from msgspec.structs import replace

from gateway.budgets.books import Budgets
from gateway.budgets.bound import plan_nanousd, size_of
from gateway.budgets.meters import Calendar, daily_meter, tag
from gateway.budgets.pool import Reservation
from gateway.cache.flight import Flight
from gateway.delivery import deliver
from gateway.errors import RequestFailed
from gateway.ports import Clock
from gateway.supervisor import Supervisor
from gateway.trail import Ask, CacheControl, Trail
from policies.model import Catalogue, Plan, Policy
from policies.rules import ShadowRules

Start = Callable[[Ask, Trail], Flight]
"""Begins the call that a trail's plan describes."""


class Shadows:
    """Owner of the copies under way in this worker."""

    def __init__(
        self,
        budgets: Budgets,
        clock: Clock,
        *,
        catalogue: Callable[[], Catalogue],
        supervisor: Supervisor,
        rng: random.Random,
    ) -> None:
        self._budgets = budgets
        self._clock = clock
        self._catalogue = catalogue
        self._supervisor = supervisor
        self._rng = rng
        self._calendar = Calendar()
        self._under_way = 0

    def consider(self, ask: Ask, trail: Trail, start: Start) -> None:
        """Perhaps copy a user's request whose own call has just ended. Returns at once."""
        policy = trail.policy
        if policy is None or policy.shadow is None or ask.origin != "user" or trail.plan is None:
            return
        rules = policy.shadow
        if self._under_way >= rules.max_concurrency or self._rng.random() >= rules.sample:
            return
        named = self._rng.choice(rules.models)
        group = policy.models.get(named, named)
        card = self._catalogue().get(group)
        allowed = trail.facts.allowed_models
        if card is None or card.mode != trail.facts.dialect or (allowed is not None and group not in allowed):
            return
        plan = replace(
            trail.plan,
            candidates=(group,),
            max_attempts=1,
            hedge=None,
            cascade=None,
            assemble=True,
            reason=f"shadow:{group}",
        )
        self._under_way += 1
        self._supervisor.spawn(self._copy(ask, trail, plan, policy, rules, start), name="shadow")

    async def _copy(self, ask: Ask, trail: Trail, plan: Plan, policy: Policy, rules: ShadowRules, start: Start) -> None:
        try:
            size = size_of(ask.request, output_cap=plan.max_output_tokens)
            most = plan_nanousd(plan.candidates, self._catalogue(), size, attempts=1)
            if most is None:
                return
            now = self._clock.now()
            meter = daily_meter(policy.name, "shadow", rules.limit_nanousd_day, now=now, calendar=self._calendar)
            reservation = await self._budgets.reserve(tag(policy.name), (meter,), (most,))
            if isinstance(reservation, Reservation):
                copied = self._trail(ask, trail, plan)
                try:
                    await _answered(copied, start)
                finally:
                    cost = copied.cost_nanousd()
                    self._budgets.settle(reservation, (most if cost is None else cost,))
        finally:
            self._under_way -= 1

    def _trail(self, ask: Ask, trail: Trail, plan: Plan) -> Trail:
        copied = replace(
            ask,
            origin="shadow",
            request_id=f"{ask.request_id}-shadow"[:64],
            parent_request_id=ask.request_id,
            received_s=self._clock.monotonic(),
            cache_control=CacheControl(no_cache=True, no_store=True),
            on_first_token=None,
            spending=None,
        )
        return Trail(
            ask=copied,
            clock=self._clock,
            sink=trail.sink,
            price_of=trail.price_of,
            started_at=self._clock.now(),
            facts=trail.facts,
            policy=trail.policy,
            arm=trail.arm,
            route_class=trail.route_class,
            plan=plan,
        )


async def _answered(trail: Trail, start: Start) -> None:
    """Read the copy's answer to its end; a failure, or being cancelled, is in its Outcome."""
    flight = start(trail.ask, trail)
    try:
        reply = await deliver(trail.ask, trail, flight.follow(deadline_s=trail.plan.deadline_s if trail.plan else None))
    except RequestFailed as failure:
        trail.close_failed(failure)
        return
    if reply.blocks is not None:
        async with aclosing(reply.blocks) as blocks:
            async for _ in blocks:
                pass
