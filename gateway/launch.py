"""A provider call for a request that no tier could answer: decide, reserve, begin; when it ends settle and store.

Speaks no HTTP and looks nothing up: the flow did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec

from gateway.budgets.desk import Hold
from gateway.budgets.spending import Spending
from gateway.cache.admission import may_join
from gateway.cache.flight import Flight
from gateway.cache.lease import Lease
from gateway.cascade import cascaded
from gateway.choices import Choice, Choices
from gateway.errors import RequestFailed, from_no_candidate, http_failure
from gateway.made import made_answer
from gateway.outcome import Origin
from gateway.parts import Parts
from gateway.retained.bound import bound_of
from gateway.semantic.again import Run
from gateway.stickiness import sticky_key
from gateway.trail import Ask, Trail
from policies.arrange import service_tier, warming_plan
from policies.decide import choose, match
from policies.decision import budgeted, decided
from policies.model import NoCandidate, Plan, RouteClass, View
from policies.narrowing import Cut, Headroom
from router.types import AnswerEvent, Priority, Usage

_PRIORITY: Final[Mapping[Origin, Priority]] = {
    "warmer": "warm",
    "cache": "warm",
    "shadow": "warm",
    "judge": "warm",
    "refresh": "refresh",
}


class Launcher:
    """See the module. One per worker. `run` is Flow.run, for what the cache asks again."""

    def __init__(self, parts: Parts, run: Run) -> None:
        self._parts = parts
        self._run = run
        self._choices = Choices()

    def match(self, ask: Ask, trail: Trail) -> RouteClass:
        """Find the version of the policy that serves this session, and the route."""
        policy = self._parts.book.current().for_tenant(ask.caller.tenant)
        policy, trail.arm = self._parts.rollouts.version_for(policy, trail.facts.session or ask.request_id)
        trail.policy = policy
        self._parts.archive.note(policy)
        recalled = ask.recalled
        if recalled is not None and recalled.policy is policy and recalled.facts is trail.facts:
            trail.route_class = recalled.route_class
        else:
            trail.route_class = match(policy, trail.facts)
        return trail.route_class

    def plan(self, ask: Ask, trail: Trail) -> Plan:
        """Decide without calling anybody (also the dry run). Raises RequestFailed where no model may serve."""
        route_class = trail.route_class or self.match(ask, trail)
        plan = self._chosen(ask, trail, route_class)
        deadline_s = plan.deadline_s if ask.deadline_s is None else min(plan.deadline_s, ask.deadline_s)
        if ask.assemble or deadline_s != plan.deadline_s:
            tier = service_tier(route_class.route, deadline_s)
            assemble = plan.assemble or ask.assemble
            plan = msgspec.structs.replace(plan, assemble=assemble, deadline_s=deadline_s, service_tier=tier)
        if ask.warming is not None:
            tier, most = ask.warming.service_tier, ask.warming.most_output
            plan = warming_plan(plan, service_tier=tier, most_output=most)
        trail.plan = plan
        return plan

    def _chosen(self, ask: Ask, trail: Trail, route_class: RouteClass) -> Plan:
        """Choose, or take the choice that was made for such a request before. Raises RequestFailed."""
        parts = self._parts
        catalogue, unhealthy, draw = parts.deployments.catalogue(), parts.unhealthy(), parts.rng.random()
        made = self._choices.find(route_class, catalogue, unhealthy) if trail.warm is None else None
        if made is not None:
            trail.decision = made.decided(draw)
            return made.plan
        view = View(catalogue=catalogue, unhealthy=unhealthy, draw=draw, warm=trail.warm)
        view = parts.learning.known(view, route_class, request_id=ask.request_id, vector=trail.vector)
        plan = choose(route_class, view)
        trail.decision = decided(trail.facts, view, plan, catalogue=parts.archive.version_of(catalogue))
        if isinstance(plan, NoCandidate):
            raise from_no_candidate(plan)
        if tier := service_tier(route_class.route, plan.deadline_s):
            plan = msgspec.structs.replace(plan, service_tier=tier)
        if trail.warm is None:
            self._choices.keep(route_class, Choice(plan=plan, decision=trail.decision))
        return plan

    async def flight(self, ask: Ask, trail: Trail, lease: Lease | None) -> Flight:
        """Begin the call, or join one that somebody began meanwhile. Raises RequestFailed; then, and on cancel, the
        lease is given up and nothing stays reserved."""
        try:
            if trail.policy is not None and trail.policy.sticky != "none":
                await self._find_warm(ask, trail)
            plan = self.plan(ask, trail)
            hold = self._at_hand(ask, trail, plan) if ask.warming is None else await self._pledge(ask, trail, plan)
            hold = hold or await self._reserve(ask, trail, plan)
        except (RequestFailed, asyncio.CancelledError):
            self.give_up(lease)
            raise
        begun = self._parts.inflight.find(trail.key) if trail.key else None
        if begun is not None and trail.route_class is not None and may_join(begun, trail.route_class):
            # Somebody else began the same call while this one waited to know its price.
            self._settle(ask, hold, cost_nanousd=0, usage=Usage())
            self.give_up(lease)
            trail.note(begun)
            return begun
        return self._start(ask, trail, lease, hold)

    async def _find_warm(self, ask: Ask, trail: Trail) -> None:
        """Learn who has this session or transcript in its prefix cache, where that could change the choice."""
        policy, route_class = trail.policy, trail.route_class
        if policy is None or policy.sticky == "none" or route_class is None or route_class.route.selector == "fixed":
            return
        trail.sticky_key = sticky_key(policy.sticky, session=trail.facts.session, document=ask.request.document)
        if trail.sticky_key:
            trail.warm = await self._parts.stickiness.find(trail.sticky_key, tenant=ask.caller.tenant)

    def _at_hand(self, ask: Ask, trail: Trail, plan: Plan) -> Hold | None:
        """Reserve from what this worker has at hand; None: `_reserve` has to ask."""
        policy, route_class = trail.policy, trail.route_class
        if policy is None or route_class is None or not (policy.budgets or policy.rates):
            return Hold(plan=plan)
        spending = ask.spending or Spending()
        key_id = ask.caller.key_id
        desk = self._parts.desk
        hold = desk.hold_at_hand(policy, route_class, plan, ask.request, key_id=key_id, spending=spending)
        if hold is not None and hold.headroom is not None:
            _note(trail, hold.headroom, None)
        return hold

    async def _reserve(self, ask: Ask, trail: Trail, plan: Plan) -> Hold:
        """Reserve what the call may cost; the plan may come back narrower. Raises RequestFailed."""
        policy, route_class = trail.policy, trail.route_class
        assert policy is not None  # or nothing would be reserved
        assert route_class is not None
        desk, key_id, spending = self._parts.desk, ask.caller.key_id, ask.spending or Spending()
        try:
            hold = await desk.hold(policy, route_class, plan, ask.request, key_id=key_id, spending=spending)
        except RequestFailed as failure:
            _note(trail, failure.headroom, failure.cut)
            raise
        _note(trail, hold.headroom, hold.cut)
        trail.plan = hold.plan
        return hold

    async def _pledge(self, ask: Ask, trail: Trail, plan: Plan) -> Hold:
        """Reserve for the warmer, from its purse as well. Raises RequestFailed."""
        assert ask.warming is not None
        purse = ask.warming.purse
        most = bound_of(ask.request, trail, plan, catalogue=self._parts.deployments.catalogue())
        if most is None or not purse.take(most):
            raise http_failure(429, "more than this warm may cost", code="budget_exceeded")
        try:
            hold = self._at_hand(ask, trail, plan) or await self._reserve(ask, trail, plan)
        except (RequestFailed, asyncio.CancelledError):
            purse.settle(most, 0)
            raise
        return msgspec.structs.replace(hold, pledged_nanousd=most)

    def _start(self, ask: Ask, trail: Trail, lease: Lease | None, hold: Hold) -> Flight:
        plan = hold.plan
        trail.is_leader = True
        events = self._events(ask, trail, plan)
        # A call that may not be stored is not shared either: its caller asked for an answer of its own.
        key = trail.key if trail.key and not ask.cache_control.no_store else None
        # Others may join, whose deadlines are later than this caller's: the route's bounds the call itself.
        longest_s = trail.route_class.route.deadline_s if trail.route_class is not None else plan.deadline_s
        groups = frozenset(plan.candidates)
        flight = self._parts.inflight.start(key, events, deadline_s=longest_s, groups=groups)
        trail.flight = flight
        flight.when_done(lambda: self._ended(ask, trail, flight, lease, hold))
        return flight

    def _events(self, ask: Ask, trail: Trail, plan: Plan) -> AsyncGenerator[AnswerEvent, None]:
        attempts, tenant = self._parts.attempts, ask.caller.tenant
        priority = _PRIORITY.get(ask.origin, "interactive")
        if plan.cascade is None:
            return attempts.run(
                ask.request,
                plan,
                traceparent=ask.traceparent,
                journal=trail.journal,
                priority=priority,
                tenant=tenant,
            )
        return cascaded(
            attempts,
            ask.request,
            plan,
            plan.cascade,
            traceparent=ask.traceparent,
            journal=trail.journal,
            priority=priority,
            tenant=tenant,
        )

    def _settle(self, ask: Ask, hold: Hold, *, cost_nanousd: int | None, usage: Usage) -> None:
        self._parts.desk.settle(hold, cost_nanousd=cost_nanousd, usage=usage)
        if ask.warming is not None:
            ask.warming.purse.settle(hold.pledged_nanousd, cost_nanousd)

    def _ended(self, ask: Ask, trail: Trail, flight: Flight, lease: Lease | None, hold: Hold) -> None:
        self._settle(ask, hold, cost_nanousd=trail.cost_nanousd(), usage=trail.usage())
        self._keep(ask, trail, flight, lease)
        if trail.sticky_key and flight.finished is not None:
            group, tokens = flight.finished.deployment.group, flight.finished.usage.input_tokens
            self._parts.stickiness.note(trail.sticky_key, tenant=ask.caller.tenant, group=group, tokens=tokens)
        if trail.policy is not None and flight.finished is not None:
            if trail.policy.shadow is not None:
                self._parts.shadows.consider(ask, trail, self._start_aside)
            if trail.policy.judge is not None:
                self._parts.judges.consider(ask, trail, flight, self._start_aside)

    def _start_aside(self, ask: Ask, trail: Trail) -> Flight:
        assert trail.plan is not None
        return self._start(ask, trail, None, Hold(plan=trail.plan))

    def _keep(self, ask: Ask, trail: Trail, flight: Flight, lease: Lease | None) -> None:
        answer = made_answer(trail, flight)
        if answer is None or flight.key is None:
            self.give_up(lease)
            return
        self._parts.exact.keep(flight.key, answer)
        self._parts.exact.share(flight.key, answer, tenant=ask.caller.tenant, lease=lease)
        if lease is not None and lease.is_beside:
            self.give_up(lease)  # now: who waits for it must then find the answer
        self._parts.keeper.keep(ask, trail, answer, key=flight.key)
        self._parts.semantic.learn(trail, answer, run=self._run)

    def give_up(self, lease: Lease | None) -> None:
        """Let whoever waits for this call make it: there will be none, or it has ended."""
        if lease is not None:
            self._parts.leases.give_up(lease)


def _note(trail: Trail, headroom: Headroom | None, cut: Cut | None) -> None:
    """Add what budgets left of the plan to the record of its decision, for this request alone: others share it."""
    if headroom is not None and trail.decision is not None:
        trail.decision = budgeted(trail.decision, headroom, cut)
