"""The straight line that every request takes, whoever asks: a client, a pipeline step, the warmer.

match -> exact key -> hit | joined | miss -> choose -> attempts -> store -> Outcome (architecture.md).
Speaks no HTTP, logs nothing, counts nothing: what happened is in the Outcome.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.cache.admission import may_join, may_serve
from gateway.cache.exact import Hit, Miss, store_key
from gateway.cache.flight import Flight
from gateway.cache.key import exact_key, is_storable
from gateway.cache.lease import Elsewhere, Lease, lease_name
from gateway.cache.recall import Recalled
from gateway.delivery import Reply, deliver, replay
from gateway.errors import RequestFailed, http_failure
from gateway.launch import Launcher
from gateway.parts import Parts
from gateway.stale import is_too_old, may_stand_in
from gateway.trail import NO_WISHES, Ask, Trail
from policies.model import Plan, RouteClass
from router.facts import facts_of

_LONG_BYTES: Final = 1_048_576
_Found = Hit | Flight | Lease | Elsewhere | None
"""A stored answer, a call to join, what to call with, somebody else's call, or nothing."""


class Flow:
    """See the module. One per worker; holds no state of its own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._launcher = Launcher(parts, self.run)

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
        parts, recalled = self._parts, ask.recalled
        if recalled is not None and recalled.caller == ask.caller and not ask.session and not ask.tags:
            facts = recalled.facts
        else:
            facts = facts_of(
                ask.request,
                tenant=ask.caller.tenant,
                session=ask.session,
                tags=ask.tags,
                allowed_models=ask.caller.allowed_models,
            )
        return Trail(
            ask=ask,
            clock=parts.clock,
            sink=parts.sink,
            price_of=parts.price_of,
            started_at=parts.clock.now(),
            facts=facts,
        )

    def plan(self, ask: Ask, trail: Trail) -> Plan:
        """Decide without calling anybody (the dry run). Raises RequestFailed where no model may serve."""
        return self._launcher.plan(ask, trail)

    def key(self, ask: Ask, trail: Trail) -> str:
        """Return what the answer to a request that has been planned is stored under, "" where none would be."""
        route_class = trail.route_class or self._launcher.match(ask, trail)
        if not _may_store(ask, route_class):
            return ""
        return _key(ask, trail, route_class)

    async def _answer(self, ask: Ask, trail: Trail) -> Reply:
        route_class = self._launcher.match(ask, trail)
        found = self._recalled(ask, trail, route_class) or await self._look_up(ask, trail, route_class)
        if isinstance(found, Elsewhere):
            found = await self._wait_elsewhere(ask, trail, route_class)
        if isinstance(found, Hit):
            self._parts.refresher.told(ask, trail, found, run=self.run)
            self._remember(ask, trail, route_class)
            return replay(ask, trail, found)
        flight = trail.flight = found if isinstance(found, Flight) else await self._launcher.flight(ask, trail, found)
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
        trail.note(found, cache="stale")
        return replay(ask, trail, found)

    def _recalled(self, ask: Ask, trail: Trail, route_class: RouteClass) -> Hit | None:
        """Return what is in memory for a request that was a hit before, byte for byte; None: look it up."""
        key = _recalled_key(ask, trail, route_class)
        if not key or ask.cache_control is not NO_WISHES:
            return None
        hit = self._parts.exact.peek(key, max_age_s=None)
        if hit is None or not may_serve(hit.answer, route_class, self._parts.deployments.catalogue()):
            return None
        trail.key = key
        trail.note(hit)
        return hit

    async def _look_up(self, ask: Ask, trail: Trail, route_class: RouteClass) -> _Found:
        """Return a stored answer, a call to join, or what to call with: the tiers in order, cheapest first."""
        control = ask.cache_control
        if not _may_store(ask, route_class):
            _refuse_uncached(ask)
            return None
        if len(ask.request.body) < _LONG_BYTES:
            trail.key = _key(ask, trail, route_class)
        else:  # encoding and hashing it takes more than a millisecond
            trail.key = await asyncio.to_thread(_key, ask, trail, route_class)
        if control.no_cache:
            _refuse_uncached(ask)
            return None
        found: _Found
        if (here := self._here(ask, trail.key)) is not None:
            found = self._usable(here, route_class)
        elif self._may_wait(ask):
            found = await self._fetch_or_claim(ask, trail.key, route_class)
        else:
            found = await self._fetch(ask, trail.key, route_class)
        trail.note(found)
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
            self._launcher.give_up(lease)
            raise
        found: Hit | Flight | None = near
        if near is not None:
            trail.note(near, cache="semantic-hit", tier="semantic")
        else:
            found = self._usable(self._here(ask, trail.key), route_class)
            trail.note(found)
        if found is None:
            return lease
        self._launcher.give_up(lease)
        return found

    async def _fetch(self, ask: Ask, key: str, route_class: RouteClass) -> Hit | Flight | None:
        """Look in the shared store for what this caller may have."""
        max_age_s = ask.cache_control.max_age_s
        fetched = await self._parts.exact.fetch(key, tenant=ask.caller.tenant, max_age_s=max_age_s)
        # The same request may have been launched, even answered, while this one waited for the store.
        return self._usable(fetched if isinstance(fetched, Hit) else self._here(ask, key), route_class)

    async def _fetch_or_claim(self, ask: Ask, key: str, route_class: RouteClass) -> _Found:
        """Look as `_fetch` does, and take the key's lease where nothing is found."""
        parts = self._parts
        lease = parts.leases.draw(store_key(key, tenant=ask.caller.tenant))
        try:
            fetched = await parts.exact.fetch_or_claim(key, lease, max_age_s=ask.cache_control.max_age_s)
        except asyncio.CancelledError:
            parts.leases.give_up(lease)
            raise
        found = self._usable(fetched if isinstance(fetched, Hit) else self._here(ask, key), route_class)
        if found is not None:
            if fetched is lease:
                parts.leases.give_up(lease)
            return found
        if isinstance(fetched, Miss):
            return None if fetched.is_store_down else await self._claim_beside(ask, key, route_class)
        return await self._claim_beside(ask, key, route_class) if isinstance(fetched, Hit) else fetched

    async def _claim_beside(self, ask: Ask, key: str, route_class: RouteClass) -> _Found:
        """Take a lease beside a stored answer that this caller may not have, others may, and an outage may need."""
        leases = self._parts.leases
        lease = leases.draw(lease_name(key, tenant=ask.caller.tenant), is_beside=True)
        try:
            # One trip, in this order: whoever had the lease stored the answer before giving it up.
            claimed, found = await asyncio.gather(leases.claim(lease), self._fetch(ask, key, route_class))
        except asyncio.CancelledError:
            leases.give_up(lease)
            raise
        if found is not None and claimed is lease:
            leases.give_up(lease)
        return claimed if found is None else found

    def _usable(self, found: Hit | Flight | None, route_class: RouteClass) -> Hit | Flight | None:
        """Return it where this caller may have it."""
        if isinstance(found, Hit):
            return found if may_serve(found.answer, route_class, self._parts.deployments.catalogue()) else None
        return found if found is not None and may_join(found, route_class) else None

    def _may_wait(self, ask: Ask) -> bool:
        """Whether the answer may come from another worker: streams are joined within a worker only."""
        control = ask.cache_control
        # Nobody may wait for what the warmer has made at a tier that is slower than theirs.
        is_slow = ask.warming is not None and bool(ask.warming.service_tier)
        is_shared = not control.no_store and not control.only_if_cached and not is_slow
        return is_shared and not ask.request.stream and self._parts.leases.is_on

    async def _wait_elsewhere(self, ask: Ask, trail: Trail, route_class: RouteClass) -> Hit | Flight | Lease | None:
        """Wait for the answer of the worker that has the key's lease, or for the lease; None: call without it."""
        parts, key = self._parts, trail.key
        began_s = parts.clock.monotonic()

        async def again() -> _Found:
            here = self._usable(self._here(ask, key), route_class)
            return here if here is not None else await self._fetch_or_claim(ask, key, route_class)

        found: Hit | Flight | Lease | None = await parts.leases.wait(again, left_s=self._left_s(ask))
        trail.waited_s = parts.clock.monotonic() - began_s
        trail.note(found)
        return found

    def _here(self, ask: Ask, key: str) -> Hit | Flight | None:
        """Look into this worker alone: answers in memory, then calls in flight, which may be renewing them."""
        parts = self._parts
        return parts.exact.peek(key, max_age_s=ask.cache_control.max_age_s) or parts.inflight.find(key)

    def _remember(self, ask: Ask, trail: Trail, route_class: RouteClass) -> None:
        """Keep what was found out about a plain request that was a hit: the same bytes are likely to come again."""
        is_known = ask.recalled is not None and ask.recalled.route_class is route_class
        if is_known or trail.policy is None or ask.origin != "user" or ask.store_sampled or not _is_plain(ask, trail):
            return
        recalled = Recalled(
            request=ask.request,
            caller=ask.caller,
            policy=trail.policy,
            facts=trail.facts,
            route_class=route_class,
            key=trail.key,
        )
        self._parts.recall.keep(recalled)

    def _left_s(self, ask: Ask) -> float | None:
        """What is left of the caller's own deadline; whoever joins the call keeps theirs."""
        if ask.deadline_s is None:
            return None
        return max(0.0, ask.received_s + ask.deadline_s - self._parts.clock.monotonic())


def _may_store(ask: Ask, route_class: RouteClass) -> bool:
    rules = route_class.route.cache
    return is_storable(ask.request.document, rules) or (ask.store_sampled and rules.exact_ttl_s > 0)


def _is_plain(ask: Ask, trail: Trail) -> bool:
    """Whether body, caller and policy alone decide facts, route and key."""
    return not (ask.session or ask.tags or trail.arm or ask.cache_control.namespace or ask.identity is not None)


def _key(ask: Ask, trail: Trail, route_class: RouteClass) -> str:
    namespace, identity, arm = ask.cache_control.namespace, ask.identity, trail.arm
    return _recalled_key(ask, trail, route_class) or exact_key(
        ask.request.document, route_class, namespace=namespace, identity=identity, arm=arm
    )


def _recalled_key(ask: Ask, trail: Trail, route_class: RouteClass) -> str:
    """Return the key that the same bytes had under this route, which stores their answers; "" where none is known."""
    recalled = ask.recalled
    is_the_same = recalled is not None and recalled.route_class is route_class and _is_plain(ask, trail)
    return recalled.key if recalled is not None and is_the_same else ""


def _refuse_uncached(ask: Ask) -> None:
    if ask.cache_control.only_if_cached:
        raise http_failure(504, "no stored answer, and the request said only-if-cached", code="only_if_cached")
