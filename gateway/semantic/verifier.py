"""Asks the policy's cheap model whether one answer serves two questions: through the flow, once for each pair.

At lowest priority and booked like any call. The asking outlives who waits for it. Must not decide what is asked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from gateway.cache.semantic.events import Verdict, Verified
from gateway.cache.semantic.look import Place
from gateway.cache.semantic.refusals import answer_text
from gateway.cache.semantic.types import Entry
from gateway.cache.semantic.verifying import verdict_of, verify_document
from gateway.metrics import Metrics
from gateway.ports import Clock
from gateway.semantic.again import Background, Run, answered
from gateway.trail import Ask, CacheControl, Trail
from router.facts import BadRequest, DoorLimits, read_request

LONGEST_S: Final = 10.0
"""An asking ends so long after it began, whether or not somebody still waits for it."""
MOST_REMEMBERED: Final = 1024
"""Pairs asked about lately, until every worker has heard what came of it."""

Pair = tuple[str, str]


@dataclass(slots=True, kw_only=True, eq=False)
class Verifier:
    """One worker's: what is being asked, and what was asked lately."""

    background: Background
    limits: DoorLimits
    metrics: Metrics
    clock: Clock
    _asked: OrderedDict[Pair, asyncio.Future[Verdict]] = field(default_factory=OrderedDict)

    def asking(self, place: Place, entry: Entry, *, trail: Trail, run: Run) -> asyncio.Future[Verdict] | None:
        """Return what will be said of a pair, begun now unless it was begun before; None where too much is asked."""
        pair = entry.answer_id, place.question_id
        known = self._asked.get(pair)
        if known is not None and not (known.done() and (known.cancelled() or known.result() == "none")):
            return known
        ask = self._ask(place, entry, trail)
        said: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if ask is None or not self.background.begin(self._answer(place, entry, ask, run, said), name="semantic-verify"):
            return None
        self._asked[pair] = said
        self._asked.move_to_end(pair)
        if len(self._asked) > MOST_REMEMBERED:
            self._asked.popitem(last=False)
        return said

    async def _answer(self, place: Place, entry: Entry, ask: Ask, run: Run, said: asyncio.Future[Verdict]) -> None:
        try:
            reply = await answered(run, ask)
            text = None if reply is None else answer_text(reply.body or b"")
            cost = 0 if reply is None else reply.trail.cost_nanousd() or 0
            verdict = verdict_of(text)
            place.open_class.note(
                Verified(
                    answer_id=entry.answer_id,
                    question=place.question_id,
                    verdict=verdict,
                    at_s=self.clock.now(),
                    cost_nanousd=cost,
                )
            )
            self.metrics.semantic_verified(place.open_class.name.route, verdict, cost_nanousd=cost)
            said.set_result(verdict)
        finally:
            if not said.done():
                said.cancel()

    def _ask(self, place: Place, entry: Entry, trail: Trail) -> Ask | None:
        rules, route_class = place.open_class.rules.verify, place.asked.route_class
        if rules is None:
            return None
        model = route_class.aliases.get(rules.model, rules.model)
        document = verify_document(model, entry.text, place.question.text)
        return side_ask(trail, document, limits=self.limits, name="verify")


def side_ask(trail: Trail, document: Mapping[str, object], *, limits: DoorLimits, name: str) -> Ask | None:
    """Return what the cache asks beside a request, booked to its caller, tagged `cache=<name>`; None for bad text."""
    try:
        request = read_request(orjson.dumps(document), dialect="chat", limits=limits)
    except (BadRequest, orjson.JSONEncodeError):
        return None
    return Ask(
        request=request,
        caller=replace(trail.ask.caller, allowed_models=None),  # the operator chose the model, not the caller
        request_id=f"{name}-{secrets.token_hex(8)}",
        parent_request_id=trail.ask.request_id,
        endpoint=trail.ask.endpoint,
        received_s=trail.clock.monotonic(),
        origin="cache",
        session=trail.facts.session or trail.ask.request_id,
        tags=frozenset((f"cache={name}",)),
        cache_control=CacheControl(no_cache=True, no_store=True),
        deadline_s=LONGEST_S,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifying:
    """gateway.cache.semantic.verifying.AskVerifier for one request."""

    verifier: Verifier
    trail: Trail
    run: Run

    async def __call__(self, place: Place, entry: Entry, *, at_most_s: float | None) -> Verdict:
        """Ask, and wait no longer than `at_most_s` for the verdict."""
        metrics, clock = self.verifier.metrics, self.verifier.clock
        began_s = clock.monotonic()
        said = self.verifier.asking(place, entry, trail=self.trail, run=self.run)
        if said is not None:
            await asyncio.wait((said,), timeout=at_most_s)
        if at_most_s is not None:
            metrics.semantic_waited(clock.monotonic() - began_s, is_late=said is None or not said.done())
        return said.result() if said is not None and said.done() and not said.cancelled() else "none"
