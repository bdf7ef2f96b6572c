"""The straight line that every request takes, whoever asks: a client, a pipeline step, the warmer.

match -> exact key -> hit | joined | miss -> choose -> attempts -> store -> Outcome (architecture.md).
Speaks no HTTP, logs nothing, counts nothing: what happened is in the Outcome.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace

import orjson

from gateway.cache.codec import DONE, StoredAnswer, assemble, body_of, disassemble, event, events_of, usage_event
from gateway.cache.exact import ExactCache, Hit
from gateway.cache.inflight import DeadlineExceeded, Flight, Follower, InFlight, Interrupted, Spawner
from gateway.cache.key import exact_key, is_storable
from gateway.errors import RequestFailed, from_flight, from_no_candidate, http_failure
from gateway.ports import Clock
from gateway.trail import Ask, Sink, Trail
from policies.book import PolicyBook
from policies.decide import choose, match
from policies.model import REQUESTED, NoCandidate, Plan, RouteClass, View
from router.attempts import Attempts
from router.errors import AttemptsFailed, NoDeployment
from router.facts import facts_of
from router.ports import Deployments
from router.types import AnswerEvent, Block, Finished, Opened

_FLIGHT_ERRORS = (AttemptsFailed, NoDeployment, DeadlineExceeded, Interrupted)
_NORMAL_FINISH = frozenset({"stop", "tool_calls", "function_call"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer on its way: `body` whole, or `blocks` of server-sent events ending in `[DONE]` or an error event.

    Close `blocks` with contextlib.aclosing; closing early means that the client has left.
    """

    trail: Trail
    body: bytes | None = None
    blocks: AsyncGenerator[bytes, None] | None = None
    provider_headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the flow is wired from; owned by app.py."""

    book: PolicyBook
    deployments: Deployments
    unhealthy: Callable[[], frozenset[str]]
    attempts: Attempts
    exact: ExactCache
    inflight: InFlight
    spawner: Spawner
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
            return await self._answer(ask, trail)
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
        return Trail(ask=ask, clock=parts.clock, sink=parts.sink, started_at=parts.clock.now(), facts=facts)

    def plan(self, ask: Ask, trail: Trail) -> Plan:
        """Decide without calling anybody (also the dry run). Raises RequestFailed where no model may serve."""
        parts = self._parts
        if trail.route_class is None:
            trail.route_class = match(parts.book.current().for_tenant(ask.caller.tenant), trail.facts)
        view = View(catalogue=parts.deployments.catalogue(), unhealthy=parts.unhealthy(), draw=parts.rng.random())
        plan = choose(trail.route_class, view)
        if isinstance(plan, NoCandidate):
            raise from_no_candidate(plan)
        trail.plan = replace(plan, assemble=True) if ask.assemble else plan
        return trail.plan

    async def _answer(self, ask: Ask, trail: Trail) -> Reply:
        route_class = match(self._parts.book.current().for_tenant(ask.caller.tenant), trail.facts)
        trail.route_class = route_class
        found = await self._look_up(ask, trail, route_class)
        if isinstance(found, Hit):
            return _replay(ask, trail, found)
        flight = found or self._launch(ask, trail)
        trail.flight = flight
        return await self._deliver(ask, trail, flight.follow())

    async def _look_up(self, ask: Ask, trail: Trail, route_class: RouteClass) -> Hit | Flight | None:
        """Return a stored answer, a call to join, or None: the tiers in order, cheapest first."""
        control, parts = ask.cache_control, self._parts
        rules = route_class.route.cache
        if not is_storable(ask.request.document, rules) and not (ask.store_sampled and rules.exact_ttl_s > 0):
            _refuse_uncached(ask)
            return None
        key = exact_key(ask.request.document, route_class, namespace=control.namespace, identity=ask.identity)
        trail.key = key
        if control.no_cache:
            _refuse_uncached(ask)
            return None
        found = parts.inflight.find(key) or parts.exact.peek(key, max_age_s=control.max_age_s)
        if found is None:
            fetched = await parts.exact.fetch(key, tenant=ask.caller.tenant, max_age_s=control.max_age_s)
            # The same request may have been launched while this one waited for the store.
            found = fetched if isinstance(fetched, Hit) else parts.inflight.find(key)
        if isinstance(found, Hit) and not _may_serve(found.answer, route_class):
            found = None
        if isinstance(found, Flight):
            trail.cache, trail.tier = "joined", "inflight"
        elif isinstance(found, Hit):
            trail.cache, trail.age_s, trail.stored = "hit", found.age_s, found.answer
            trail.tier = "segment" if ask.is_segment else found.tier
        else:
            trail.cache = "miss"
            _refuse_uncached(ask)
        return found

    def _launch(self, ask: Ask, trail: Trail) -> Flight:
        plan = self.plan(ask, trail)
        trail.is_leader = True
        deadline_s = min(plan.deadline_s, plan.deadline_s if ask.deadline_s is None else ask.deadline_s)
        events = self._parts.attempts.run(ask.request, plan, traceparent=ask.traceparent, journal=trail.journal)
        # A call that may not be stored is not shared either: its caller asked for an answer of its own.
        key = trail.key if trail.key and not ask.cache_control.no_store else None
        flight = self._parts.inflight.start(key, events, deadline_s=deadline_s)
        flight.when_done(lambda: self._keep(ask, trail, flight))
        return flight

    def _keep(self, ask: Ask, trail: Trail, flight: Flight) -> None:
        finished = flight.finished
        if flight.key is None or finished is None or trail.plan is None or not _is_good(ask, flight, finished):
            return
        ttl_s = trail.plan.cache.exact_ttl_s
        answer = StoredAnswer(
            form="sse" if finished.body is None else "json",
            payload=flight.blocks() if finished.body is None else finished.body,
            usage_event=finished.usage_event,
            usage=finished.usage,
            finish_reasons=finished.finish_reasons,
            routed_model=finished.deployment.group,
            response_model=finished.response_model,
            provider=finished.deployment.provider,
            is_simulated=finished.deployment.backend == "simulated",
            cost_nanousd=finished.cost_nanousd,
            created_at=self._parts.clock.now(),
            ttl_s=min(ttl_s, ask.cache_control.ttl_s or ttl_s),
            writer=ask.caller.key_id,
            policy_version=trail.plan.policy_version,
        )
        self._parts.exact.keep(flight.key, answer)
        self._parts.spawner.spawn(self._share(flight.key, answer, ask.caller.tenant), name="cache-put")

    async def _share(self, key: str, answer: StoredAnswer, tenant: str) -> None:
        await self._parts.exact.share(key, answer, tenant=tenant)

    async def _deliver(self, ask: Ask, trail: Trail, follower: Follower) -> Reply:
        try:
            first = await follower.next()
            if ask.on_first_token is not None:
                ask.on_first_token()
            if ask.request.stream:
                trail.head_s = self._parts.clock.monotonic() - ask.received_s
                headers = first.headers if isinstance(first, Opened | Finished) else {}
                return Reply(trail=trail, blocks=_stream(ask, trail, follower, first), provider_headers=headers)
            while not isinstance(first, Finished):
                first = await follower.next()
            body = _whole(trail, first)
        except _FLIGHT_ERRORS as exc:
            follower.close()
            raise from_flight(exc) from exc
        except asyncio.CancelledError:
            follower.close()
            raise
        follower.close()
        trail.close_ok()
        return Reply(trail=trail, body=body, provider_headers=first.headers)


def _refuse_uncached(ask: Ask) -> None:
    if ask.cache_control.only_if_cached:
        raise http_failure(504, "no stored answer, and the request said only-if-cached", code="only_if_cached")


def _may_serve(answer: StoredAnswer, route_class: RouteClass) -> bool:
    """Whether the route and the key still allow the model that made this answer."""
    facts, route = route_class.facts, route_class.route
    if facts.allowed_models is not None and answer.routed_model not in facts.allowed_models:
        return False
    names = (*route.candidates, *route.fallbacks)
    groups = {facts.requested_model if n == REQUESTED else route_class.aliases.get(n, n) for n in names}
    return answer.routed_model in groups


def _is_good(ask: Ask, flight: Flight, finished: Finished) -> bool:
    """Whether an answer may enter the cache: complete, finished normally, not empty, JSON where JSON was asked."""
    if not flight.is_whole:
        return False
    if ask.request.dialect == "embeddings":
        return finished.body is not None
    if not finished.finish_reasons or not set(finished.finish_reasons) <= _NORMAL_FINISH:
        return False
    if finished.usage.output_tokens == 0 and not finished.usage.is_estimated:
        return False
    asked = ask.request.document.get("response_format")
    if isinstance(asked, dict) and asked.get("type") in ("json_object", "json_schema"):
        body = finished.body or assemble(flight.blocks(), usage=finished.usage)
        return all(_parses(choice.get("message", {}).get("content")) for choice in orjson.loads(body)["choices"])
    return True


def _parses(content: object) -> bool:
    if not isinstance(content, str):
        return False
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def _whole(trail: Trail, finished: Finished) -> bytes:
    if finished.body is not None:
        return finished.body
    flight = trail.flight
    assert flight is not None
    if not flight.is_whole:
        raise RequestFailed(
            "the answer is too large to be put together; ask for a stream",
            status=502,
            type="server_error",
            code="answer_too_large",
            should_retry=False,
        )
    return assemble(flight.blocks() + (finished.usage_event or b""), usage=finished.usage)


def _replay(ask: Ask, trail: Trail, hit: Hit) -> Reply:
    if ask.on_first_token is not None:
        ask.on_first_token()
    trail.head_s = trail.clock.monotonic() - ask.received_s
    if not ask.request.stream:
        trail.close_ok()
        return Reply(trail=trail, body=body_of(hit.answer), provider_headers={})
    return Reply(trail=trail, blocks=_replayed(ask, trail, hit.answer), provider_headers={})


async def _replayed(ask: Ask, trail: Trail, answer: StoredAnswer) -> AsyncGenerator[bytes, None]:
    try:
        yield b"".join((*events_of(answer, include_usage=ask.request.include_usage), DONE))
        trail.close_ok()
    finally:
        trail.close_left()


async def _stream(ask: Ask, trail: Trail, follower: Follower, first: AnswerEvent) -> AsyncGenerator[bytes, None]:
    try:
        current = first
        while not isinstance(current, Finished):
            if isinstance(current, Block):
                if trail.first_token_s is None:
                    trail.first_token_s = trail.clock.monotonic() - ask.received_s
                yield current.data
            current = await follower.next()
        yield _ending(ask, follower.flight, current)
        trail.close_ok()
    except _FLIGHT_ERRORS as exc:
        failure = from_flight(exc)
        trail.close_failed(failure)
        # A client library says nothing when a stream merely ends: the error is an event, and no [DONE] follows.
        yield event(failure.body())
    finally:
        _leave(trail, follower)


def _ending(ask: Ask, flight: Flight, finished: Finished) -> bytes:
    content, usage = b"", finished.usage_event
    if finished.body is not None:
        content, usage = disassemble(finished.body)
    elif usage is None and ask.request.include_usage and flight.is_whole:
        usage = usage_event(flight.blocks(), finished.usage)
    return content + (usage if usage and ask.request.include_usage else b"") + DONE


def _leave(trail: Trail, follower: Follower) -> None:
    """End a streamed delivery. A client that hangs up after finish_reason has its answer: usage is still drained."""
    has_answer = not trail.is_closed and follower.has_seen_finish()
    follower.close(keep_running=has_answer)
    if has_answer:
        trail.close_ok()
    else:
        trail.close_left()
