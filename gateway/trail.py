"""What is known of one request so far; it ends as exactly one Outcome.

The one mutable value of a request, owned by the task that serves it. Emits once, through the sink it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.budgets.spending import Spending
from gateway.cache.codec import StoredAnswer
from gateway.cache.exact import Hit
from gateway.cache.flight import Flight
from gateway.cache.recall import Recalled
from gateway.cache.semantic.look import Looked
from gateway.cache.semantic.types import Vector
from gateway.errors import RequestFailed
from gateway.keys import Caller
from gateway.outcome import CacheStatus, CacheTier, Origin, Outcome, Result
from gateway.ports import Clock
from gateway.purse import Warming
from policies.decision import Decision, decision_of
from policies.model import Plan, Policy, RequestFacts, RouteClass, Warm
from policies.prices import Price
from router.books import total
from router.cost import cost_nanousd
from router.types import AttemptRecord, ChatRequest, Usage
from router.usage import BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheControl:
    """What the client asked of the cache: RFC 9111 directives and LiteLLM's `cache` object. Ages in seconds."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age_s: float | None = None
    ttl_s: float | None = None
    namespace: str = ""


NO_WISHES: Final = CacheControl()  # of nearly all requests, and told by its identity


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the flow takes it, from a client, a pipeline step or the warmer.

    `received_s` is the clock's monotonic reading at arrival; `identity` replaces the body in the exact key, and
    `is_segment` labels the hits of a part of a transcript. `assemble`: ask the provider for a stream and put it
    together, so that a stall is seen; `on_first_token` is called once the answer begins. `spending` collects what the
    answer's headers say of budgets and limits, `transcript` is the SHA-256 of a pipeline's text, `recalled` what is
    known of the same bytes, to be used where it fits. `warming` says on whose account the warmer asks.
    """

    request: ChatRequest
    caller: Caller
    request_id: str
    endpoint: str
    received_s: float
    origin: Origin = "user"
    session: str = ""
    tags: frozenset[str] = frozenset()
    cache_control: CacheControl = NO_WISHES
    deadline_s: float | None = None
    traceparent: str | None = None
    identity: bytes | None = None
    is_segment: bool = False
    store_sampled: bool = False
    assemble: bool = False
    on_first_token: Callable[[], None] | None = None
    parent_request_id: str = ""
    transcript: str = ""
    spending: Spending | None = None
    recalled: Recalled | None = None
    warming: Warming | None = None


Sink = Callable[[Outcome], None]


class Trail(msgspec.Struct, kw_only=True, eq=False):
    """Filled in as the request moves along Flow's line; `close_*` ends it. `price_of` takes a deployment's id.

    `vector` is the question's, where the cache has computed one; `waited_s`: seconds spent waiting for another worker's
    call for the same answer. `policy` is the version that serves this session, `arm` names it where a rollout has
    several. `looked` is what the semantic tier said, `made` the answer of this request's own call, where it may be told
    again, `told` the Outcome once it has been emitted.
    """

    ask: Ask
    clock: Clock
    sink: Sink
    price_of: Callable[[str], Price | None]
    started_at: float
    facts: RequestFacts
    policy: Policy | None = None
    arm: str = ""
    sticky_key: str = ""
    warm: Warm | None = None
    route_class: RouteClass | None = None
    plan: Plan | None = None
    vector: Vector | None = None
    decision: Decision | None = None
    cache: CacheStatus = "bypass"
    tier: CacheTier = "none"
    key: str = ""
    age_s: float = 0.0
    stored: StoredAnswer | None = None
    flight: Flight | None = None
    is_leader: bool = False
    first_token_s: float | None = None
    head_s: float = 0.0
    waited_s: float = 0.0
    looked: Looked | None = None
    made: StoredAnswer | None = None
    journal: list[AttemptRecord] = []
    is_closed: bool = False
    told: Outcome | None = None

    def note(self, found: object, *, cache: CacheStatus = "hit", tier: CacheTier | None = None) -> None:
        """Note what the tiers found: a Hit (`cache` and `tier` say of which kind), a Flight to join, else a miss."""
        if isinstance(found, Flight):
            self.cache, self.tier = "joined", "inflight"
        elif isinstance(found, Hit):
            self.cache, self.age_s, self.stored = cache, found.age_s, found.answer
            self.tier = tier or ("segment" if self.ask.is_segment else found.tier)
        else:
            self.cache = "miss"

    def close_ok(self) -> None:
        """The caller has its whole answer."""
        self._close("ok", 200, None)

    def close_failed(self, failure: RequestFailed) -> None:
        """The caller has an error, as a body or as an event."""
        self._close("error", failure.status, failure)

    def close_left(self) -> None:
        """The caller went away before its answer was complete."""
        self._close("cancelled", 499, None)

    def attempts(self) -> tuple[AttemptRecord, ...]:
        """Attempts made for this request that have ended; the attempts of a call it joined are its leader's."""
        return tuple(map(self._booked, self.journal)) if self.journal else ()

    def attempts_so_far(self) -> int:
        """How many attempts were made, the one that is answering now included."""
        flight = self.flight
        is_answering = flight is not None and self.is_leader and flight.opened is not None and flight.finished is None
        return len(self.journal) + is_answering

    def provider_wait_s(self) -> float:
        """Seconds of this request that a provider, not the gateway, is answerable for, up to the head of the answer."""
        flight = self.flight
        if flight is None:
            return self.waited_s
        if self.ask.request.stream and flight.opened is not None:
            return flight.opened.first_token_s
        attempts = flight.finished.attempts if flight.finished is not None else self.attempts()
        return self.waited_s + (attempts[-1].ended_s if attempts else 0.0)

    @property
    def is_unanswered(self) -> bool:
        """Whether a provider call runs and nobody has answered it yet: a heartbeat goes out, not an answer."""
        flight = self.flight
        return flight is not None and flight.opened is None and flight.finished is None

    def cost_nanousd(self) -> int | None:
        """What this request's own provider call cost; 0 for hits and joins; None where no price is known."""
        flight = self.flight
        if flight is None or not self.is_leader:
            return 0
        if flight.finished is not None:
            return flight.finished.cost_nanousd
        return total(self.attempts())[1]

    def saved_nanousd(self) -> int:
        """What a hit or a join did not spend."""
        if self.stored is not None:
            return self.stored.cost_nanousd or 0
        if self.flight is not None and not self.is_leader and self.flight.finished is not None:
            return self.flight.finished.cost_nanousd or 0
        return 0

    def usage(self) -> Usage:
        """Tokens of every attempt made for the answer; of those that were broken off an estimate, marked so."""
        if self.stored is not None:
            return self.stored.usage
        flight = self.flight
        if flight is not None and flight.finished is not None:
            return flight.finished.usage
        if flight is None or self.is_leader:
            return total(self.attempts())[0] or Usage()
        if flight.opened is None:
            return Usage()
        # About half of a chunk's wire bytes are envelope; counting them errs towards booking too much.
        produced = flight.sent_bytes // (BYTES_PER_TOKEN * 8)
        return Usage(input_tokens=self.facts.input_tokens, output_tokens=produced, is_estimated=True)

    def _booked(self, attempt: AttemptRecord) -> AttemptRecord:
        """Return the record with an estimate where a call was broken off before its first token: its prompt is paid."""
        if attempt.result != "cancelled" or attempt.usage is not None:
            return attempt
        usage = Usage(input_tokens=self.facts.input_tokens, is_estimated=True)
        return msgspec.structs.replace(
            attempt, usage=usage, cost_nanousd=cost_nanousd(self.price_of(attempt.deployment_id), usage)
        )

    def _close(self, result: Result, status: int, failure: RequestFailed | None) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        total_s = self.clock.monotonic() - self.ask.received_s
        flight = self.flight
        if flight is not None and self.is_leader and not flight.is_done:
            # Who asked first pays for the call; what it cost is known only when it has ended.
            flight.when_done(lambda: self.sink(self._outcome(result, status, failure, total_s)))
        else:
            self.told = self._outcome(result, status, failure, total_s)
            self.sink(self.told)

    def _outcome(self, result: Result, status: int, failure: RequestFailed | None, total_s: float) -> Outcome:
        ask, route_class, plan, looked, flight = self.ask, self.route_class, self.plan, self.looked, self.flight
        model, provider, response_model, simulated, finish = self.answered_by()
        cost = 0 if flight is None else self.cost_nanousd()
        # In the order of its fields, as test_trail.py holds: more than 15 arguments by name take 4 us more.
        return Outcome(
            ask.request_id,
            ask.origin,
            ask.endpoint,
            self.started_at,
            result,
            status,
            ask.caller.tenant,
            ask.caller.key_id,
            self.facts.session,
            route_class.policy if route_class else "",
            route_class.policy_version if route_class else "",
            route_class.route.name if route_class else "",
            plan.reason if plan else self.cache,
            tuple(sorted(ask.tags)) if ask.tags else (),
            ask.request.requested_model,
            model,
            response_model,
            provider,
            simulated,
            ask.request.stream,
            self.cache,
            self.tier,
            self.key,
            self.age_s,
            round(looked.similarity, 4) if looked else 0.0,
            looked.nearest if looked else "",
            looked.refused if looked else "",
            self.facts.input_tokens,
            self.usage(),
            cost,
            self.saved_nanousd(),
            (cost or 0) if ask.origin == "user" else 0,
            finish,
            self.attempts() if self.journal else (),
            flight.finished.malformed_events if flight is not None and self.is_leader and flight.finished else 0,
            failure.code if failure else "",
            failure.type if failure else "",
            failure.source if failure else "",
            total_s,
            self.first_token_s,
            max(0.0, (self.head_s or total_s) - self.provider_wait_s()),
            ask.parent_request_id,
            plan.arm if plan else "",
            self.decision or decision_of(self.facts),
            self._ttl_s(),
            self.stored.warmed_by if self.stored else ask.warming.predictor if ask.warming else "",
        )

    def _ttl_s(self) -> float:
        if (answer := self.stored or self.made) is not None:
            return answer.ttl_s
        return self.route_class.route.cache.exact_ttl_s if self.route_class and self.cache == "joined" else 0.0

    def answered_by(self) -> tuple[str, str, str, bool, tuple[str, ...]]:
        """Return (routed model, provider, response model, whether simulated, finish reasons) as far as known."""
        if (stored := self.stored) is not None:
            return stored.answered_by
        flight = self.flight
        if flight is not None and flight.finished is not None:
            done = flight.finished
            deployment = done.deployment
            simulated = deployment.backend == "simulated"
            return deployment.group, deployment.provider, done.response_model, simulated, done.finish_reasons
        if flight is not None and flight.opened is not None:
            deployment = flight.opened.deployment
            return deployment.group, deployment.provider, "", deployment.backend == "simulated", ()
        attempts = self.attempts()
        return (attempts[-1].group, attempts[-1].provider, "", False, ()) if attempts else ("", "", "", False, ())
