"""The straight line that every request takes, whoever asks: a client, a pipeline step, the warmer.

match -> exact key -> hit | joined | miss -> choose -> attempts -> store -> Outcome (architecture.md).
Speaks no HTTP, logs nothing, counts nothing: what happened is in the Outcome.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from gateway.cache.admission import may_join, may_serve
from gateway.cache.exact import ExactCache, Hit, Miss
from gateway.cache.flight import Flight
from gateway.cache.inflight import InFlight
from gateway.cache.key import exact_key, is_storable
from gateway.cache.lease import Elsewhere, Lease, Leases
from gateway.delivery import Reply, deliver, replay
from gateway.errors import RequestFailed, from_no_candidate, http_failure
from gateway.notes import made_answer, note
from gateway.outcome import Origin
from gateway.ports import Clock
from gateway.semantic.hook import SemanticHook
from gateway.semantic.refresh import Refresher
from gateway.stale import is_too_old, may_stand_in
from gateway.trail import Ask, Sink, Trail
from policies.book import PolicyBook
from policies.decide import choose, match
from policies.model import NoCandidate, Plan, Price, RouteClass, View
from router.attempts import Attempts
from router.facts import facts_of
from router.ports import Deployments
from router.types import Priority

_PRIORITY: Mapping[Origin, Priority] = {"warmer": "warm", "refresh": "refresh"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the flow is wired from; owned by app.py."""

    book: PolicyBook
    deployments: Deployments
    unhealthy: Callable[[], frozenset[str]]
    price_of: Callable[[str], Price | None]
    attempts: Attempts
    exact: ExactCache
    inflight: InFlight
    leases: Leases
    semantic: SemanticHook
    refresher: Refresher
    clock: Clock
    sink: Sink
    rng: random.Random


class Flow:
    """See the module. One per worker; holds no state of its own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self, ask: Ask) -> Reply:
        """Answer one request. Raises RequestFailed; on cancel the caller has left and the Outcome says so."""
        trail = self.trail(ask)
        try:
            try:
                return await self._answer(ask, trail)
            except RequestFailed as failure:
                stale = await self._stale(ask, trail, failure)
                if stale is None:
                    raise
                return stale
        except RequestFailed as failure:
            trail.close_failed(failure)
            failure.is_recorded = True
            raise
        except asyncio.CancelledError:
            trail.close_left()
            raise

    def trail(self, ask: Ask) -> Trail:
        """Start the record of a request."""
        facts = facts_of(
            ask.request,
            tenant=ask.caller.tenant,
            session=ask.session,
            tags=ask.tags,
            allowed_models=ask.caller.allowed_models,
        )
        parts = self._parts
        return Trail(
            ask=ask,
            clock=parts.clock,
            sink=parts.sink,
            price_of=parts.price_of,
            started_at=parts.clock.now(),
            facts=facts,
        )

    def plan(self, ask: Ask, trail: Trail) -> Plan:
        """Decide without calling anybody (also the dry run). Raises RequestFailed where no model may serve."""
        parts = self._parts
        if trail.route_class is None:
            trail.route_class = match(parts.book.current().for_tenant(ask.caller.tenant), trail.facts)
        view = View(catalogue=parts.deployments.catalogue(), unhealthy=parts.unhealthy(), draw=parts.rng.random())
        plan = choose(trail.route_class, view)
        if isinstance(plan, NoCandidate):
            raise from_no_candidate(plan)
        deadline_s = plan.deadline_s if ask.deadline_s is None else min(plan.deadline_s, ask.deadline_s)
        trail.plan = msgspec.structs.replace(plan, assemble=plan.assemble or ask.assemble, deadline_s=deadline_s)
        return trail.plan

    async def _answer(self, ask: Ask, trail: Trail) -> Reply:
        route_class = match(self._parts.book.current().for_tenant(ask.caller.tenant), trail.facts)
        trail.route_class = route_class
        found = await self._look_up(ask, trail, route_class)
        if isinstance(found, Elsewhere):
            found = await self._wait_elsewhere(ask, trail, route_class, found.lease)
        if isinstance(found, Hit):
            self._parts.refresher.told(ask, trail, found, run=self.run)
            return replay(ask, trail, found)
        flight = found if isinstance(found, Flight) else self._launch(ask, trail, found)
        trail.flight = flight
        heartbeat_s = self._parts.inflight.heartbeat_s if ask.request.stream else None
        return await deliver(ask, trail, flight.follow(deadline_s=self._left_s(ask), heartbeat_s=heartbeat_s))

    async def _stale(self, ask: Ask, trail: Trail, failure: RequestFailed) -> Reply | None:
        """Return an answer beyond its time instead of `failure`, where the route allows that (RFC 5861)."""
        route_class = trail.route_class
        if route_class is None or not may_stand_in(ask, trail, route_class, failure):
            return None
        found = await self._parts.exact.fetch_stale(trail.key, tenant=ask.caller.tenant)
        if found is None or self._usable(found, route_class) is None or is_too_old(ask, found):
            return None
        note(ask, trail, found, cache="stale")
        return replay(ask, trail, found)

    async def _look_up(
        self, ask: Ask, trail: Trail, route_class: RouteClass
    ) -> Hit | Flight | Lease | Elsewhere | None:
        """Return a stored answer, a call to join, or what to call with: the tiers in order, cheapest first."""
        control, rules = ask.cache_control, route_class.route.cache
        if not is_storable(ask.request.document, rules) and not (ask.store_sampled and rules.exact_ttl_s > 0):
            _refuse_uncached(ask)
            return None
        trail.key = exact_key(ask.request.document, route_class, namespace=control.namespace, identity=ask.identity)
        if control.no_cache:
            _refuse_uncached(ask)
            return None
        if self._may_wait(ask):
            found = await self._find_or_claim(ask, trail.key, route_class)
        else:
            found = await self._find(ask, trail.key, route_class)
        note(ask, trail, found)
        if found is None or isinstance(found, Lease):
            found = await self._look_near(ask, trail, route_class, found)
        if not isinstance(found, Hit | Flight):
            _refuse_uncached(ask)
        return found

    async def _look_near(
        self, ask: Ask, trail: Trail, route_class: RouteClass, lease: Lease | None
    ) -> Hit | Flight | Lease | None:
        """Look for another wording's answer; who has waited for that looks for the same request once more."""
        if route_class.route.cache.semantic is None:
            return lease
        try:
            near = await self._parts.semantic.look_up(ask, trail, route_class, run=self.run)
        except asyncio.CancelledError:
            self._give_up(lease)
            raise
        if near is None:
            found = self._usable(self._here(ask, trail.key), route_class)
            if found is None:
                return lease
            note(ask, trail, found)
        else:
            found = near
            note(ask, trail, near, cache="semantic-hit", tier="semantic")
        self._give_up(lease)
        return found

    async def _find(self, ask: Ask, key: str, route_class: RouteClass) -> Hit | Flight | None:
        """Look here, then in the shared store, for what this caller may have."""
        here = self._here(ask, key)
        if here is not None:
            return self._usable(here, route_class)
        max_age_s = ask.cache_control.max_age_s
        fetched = await self._parts.exact.fetch(key, tenant=ask.caller.tenant, max_age_s=max_age_s)
        # The same request may have been launched, even answered, while this one waited for the store.
        return self._usable(fetched if isinstance(fetched, Hit) else self._here(ask, key), route_class)

    async def _find_or_claim(
        self, ask: Ask, key: str, route_class: RouteClass
    ) -> Hit | Flight | Lease | Elsewhere | None:
        """Look as `_find` does, and take the key's lease in the same round trip, for the case that nothing is found."""
        here = self._here(ask, key)
        if here is not None:
            return self._usable(here, route_class)
        parts, tenant = self._parts, ask.caller.tenant
        lease = parts.leases.draw(key, tenant=tenant)
        max_age_s = ask.cache_control.max_age_s
        try:
            fetched, is_ours = await parts.exact.fetch_or_claim(key, lease, tenant=tenant, max_age_s=max_age_s)
        except asyncio.CancelledError:
            parts.leases.give_up(lease)
            raise
        found = self._usable(fetched if isinstance(fetched, Hit) else self._here(ask, key), route_class)
        if found is not None:
            if is_ours:
                parts.leases.give_up(lease)
            return found
        if isinstance(fetched, Miss) and fetched.is_store_down:
            return None
        return lease if is_ours else Elsewhere(lease=lease)

    def _usable(self, found: Hit | Flight | None, route_class: RouteClass) -> Hit | Flight | None:
        """Return it where this caller may have it."""
        if isinstance(found, Hit):
            return found if may_serve(found.answer, route_class, self._parts.deployments.catalogue()) else None
        return found if found is not None and may_join(found, route_class) else None

    def _may_wait(self, ask: Ask) -> bool:
        """Whether the answer may come from another worker: streams are joined within a worker only."""
        control = ask.cache_control
        is_shared = not control.no_store and not control.only_if_cached
        return is_shared and not ask.request.stream and self._parts.leases.is_on

    async def _wait_elsewhere(
        self, ask: Ask, trail: Trail, route_class: RouteClass, lease: Lease
    ) -> Hit | Flight | Lease | None:
        """Wait for the answer of the worker that has the key's lease, or for the lease; None: call without it."""
        parts, key = self._parts, trail.key
        began_s = parts.clock.monotonic()

        async def look() -> Hit | Flight | None:
            return await self._find(ask, key, route_class)

        found: Hit | Flight | Lease | None = await parts.leases.wait(lease, look, left_s=self._left_s(ask))
        trail.waited_s = parts.clock.monotonic() - began_s
        note(ask, trail, found)
        return found

    def _here(self, ask: Ask, key: str) -> Hit | Flight | None:
        """Look into this worker alone: calls in flight, then answers in memory."""
        parts = self._parts
        return parts.inflight.find(key) or parts.exact.peek(key, max_age_s=ask.cache_control.max_age_s)

    def _left_s(self, ask: Ask) -> float | None:
        """What is left of the caller's own deadline; whoever joins the call keeps theirs."""
        if ask.deadline_s is None:
            return None
        return max(0.0, ask.received_s + ask.deadline_s - self._parts.clock.monotonic())

    def _launch(self, ask: Ask, trail: Trail, lease: Lease | None) -> Flight:
        try:
            plan = self.plan(ask, trail)
        except RequestFailed:
            self._give_up(lease)
            raise
        trail.is_leader = True
        events = self._parts.attempts.run(
            ask.request,
            plan,
            traceparent=ask.traceparent,
            journal=trail.journal,
            priority=_PRIORITY.get(ask.origin, "interactive"),
            tenant=ask.caller.tenant,
        )
        # A call that may not be stored is not shared either: its caller asked for an answer of its own.
        key = trail.key if trail.key and not ask.cache_control.no_store else None
        # Others may join, whose deadlines are later than this caller's: the route's bounds the call itself.
        longest_s = trail.route_class.route.deadline_s if trail.route_class is not None else plan.deadline_s
        groups = frozenset(plan.candidates)
        flight = self._parts.inflight.start(key, events, deadline_s=longest_s, groups=groups)
        flight.when_done(lambda: self._keep(ask, trail, flight, lease))
        return flight

    def _keep(self, ask: Ask, trail: Trail, flight: Flight, lease: Lease | None) -> None:
        answer = made_answer(trail, flight)
        if answer is not None and flight.key is not None:
            self._parts.exact.keep(flight.key, answer)
            # Stored before the lease is given up: who waits for that must then find the answer.
            self._parts.exact.share(flight.key, answer, tenant=ask.caller.tenant)
            self._parts.semantic.learn(ask, trail, answer, run=self.run)
        self._give_up(lease)

    def _give_up(self, lease: Lease | None) -> None:
        if lease is not None:
            self._parts.leases.give_up(lease)


def _refuse_uncached(ask: Ask) -> None:
    if ask.cache_control.only_if_cached:
        raise http_failure(504, "no stored answer, and the request said only-if-cached", code="only_if_cached")
