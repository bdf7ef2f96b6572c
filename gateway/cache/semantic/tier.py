"""The semantic tier: may this question have the answer of another one, and what does its own answer teach?

eligibility -> scope -> vector -> nearest -> guards -> gate -> the stored answer; afterwards a label, an alias or an
entry of its own (cache.md). The one owner of these steps. Speaks to no provider itself: who asks again is given to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.cache.admission import may_serve
from gateway.cache.codec import StoredAnswer
from gateway.cache.exact import ExactCache, Hit
from gateway.cache.semantic.answers import NOTHING_KNOWN
from gateway.cache.semantic.classes import Classes, class_name
from gateway.cache.semantic.eligibility import EntryRules, Ineligible, Question, question_of
from gateway.cache.semantic.events import Verdict
from gateway.cache.semantic.features import features_of_pair, is_pair_refused, with_verdict
from gateway.cache.semantic.gate import Doubt, Pair, Withhold, decide, settle
from gateway.cache.semantic.guards import Features, failed, pair_features
from gateway.cache.semantic.labels import text_of
from gateway.cache.semantic.look import Asked, Judged, Looked, Place
from gateway.cache.semantic.quota import WriteQuota
from gateway.cache.semantic.readings import Readings
from gateway.cache.semantic.scope import Partition, scope_of
from gateway.cache.semantic.types import (
    Embedder,
    EmbedderUnavailable,
    Entry,
    Index,
    Neighbour,
    TooLong,
)
from gateway.cache.semantic.verifying import AskVerifier
from gateway.keys import Caller
from gateway.ports import Clock, StoreUnavailable
from policies.model import Catalogue

NEAR: Final = 0.75
"""Cosine from which a neighbour is worth comparing answers with (tests/bench/cache_run.py)."""
NEIGHBOURS: Final = 8
_REMEMBERED: Final = 2048
_LONG_BYTES: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class TierParts:
    """What the tier is made of. `on_embed` hears seconds and whether there was no vector.

    `embedder_for` a caller: a provider's books its cost to whoever asked.
    """

    embedder_for: Callable[[Caller], Embedder]
    index: Index
    exact: ExactCache
    classes: Classes
    quota: WriteQuota
    catalogue: Callable[[], Catalogue]
    clock: Clock
    rng: random.Random
    on_embed: Callable[[float, bool], None]


class Taught(msgspec.Struct, frozen=True, kw_only=True):
    """A question and the answer that it was given, named `answer_id`."""

    place: Place
    answer_id: str
    answer: StoredAnswer


class SemanticTier:
    """See the module. One per worker; its state is that of its parts."""

    def __init__(self, parts: TierParts) -> None:
        self.parts = parts
        self._readings = Readings(most=_REMEMBERED)

    async def look_up(self, asked: Asked, verify: AskVerifier) -> Looked:
        """Look for an answer to another wording. Never raises for want of an embedder or store: it says so instead.

        Waits no longer than the embedder's, the store's and the verifier's own bounds; cancel leaves nothing behind.
        """
        rules = EntryRules(cache=asked.route_class.route.cache)
        if len(asked.request.body) > _LONG_BYTES:  # telling a question from a long text takes milliseconds
            question = await asyncio.to_thread(question_of, asked.request, rules, opted_in=asked.opted_in)
        else:
            question = question_of(asked.request, rules, opted_in=asked.opted_in)
        if isinstance(question, Ineligible):
            return Looked(refused=f"ineligible:{question.reason}")
        try:
            place = await self._place(asked, question)
            if isinstance(place, str):
                return Looked(refused=place)
            tenant = asked.route_class.facts.tenant
            found = await self.parts.index.nearest(tenant, place.scope, place.vector, k=NEIGHBOURS)
        except EmbedderUnavailable:
            return Looked(refused="embedder")
        except StoreUnavailable:
            return Looked(refused="store")
        place.open_class.requests += 1
        near = [one for one in found if one.similarity >= NEAR]
        if not near:
            nearest = found[0].similarity if found else 0.0
            return Looked(refused="far" if found else "empty", similarity=nearest, place=place)
        return await self._among(place, near, verify)

    def has_room(self, place: Place) -> bool:
        """Say whether the place's key may enter one more question now."""
        return self.parts.quota.has_room(place.asked.caller.key_id)

    async def enter(self, place: Place, answer_id: str, answer: StoredAnswer) -> None:
        """Remember that `answer` answers this question, within its key's quota. Raises StoreUnavailable."""
        if self.parts.quota.allows(place.asked.caller.key_id):
            await self.parts.index.add(_entry(place, answer_id, answer))

    async def enter_all(self, taught: Sequence[Taught]) -> None:
        """Enter what may serve another wording of its question, in one round trip. Raises StoreUnavailable."""
        entries = [
            _entry(one.place, one.answer_id, one.answer)
            for one in taught
            if text_of(one.answer) is not None and self.parts.quota.allows(one.place.asked.caller.key_id)
        ]
        if entries:
            await self.parts.index.add(*entries)

    async def stored(self, entry: Entry) -> Hit | None:
        """Return the answer object of an entry, from memory or the shared store."""
        exact = self.parts.exact
        hit = exact.peek(entry.answer_id, max_age_s=None)
        if hit is not None:
            return hit
        fetched = await exact.fetch(entry.answer_id, tenant=entry.tenant, max_age_s=None)
        return fetched if isinstance(fetched, Hit) else None

    async def _place(self, asked: Asked, question: Question) -> Place | str:
        """Return where the question stands, or why it stands nowhere."""
        embedder, clock = self.parts.embedder_for(asked.caller), self.parts.clock
        name = class_name(asked.route_class, asked.rules, embedder_id=embedder.id, arm=asked.arm)
        open_class = await self.parts.classes.open(name, asked.rules)
        if open_class is None:
            return "class_opening"
        began_s = clock.monotonic()
        try:
            embedded = await embedder.embed(question.text)
        except EmbedderUnavailable:
            self.parts.on_embed(clock.monotonic() - began_s, True)
            raise
        self.parts.on_embed(clock.monotonic() - began_s, False)
        if isinstance(embedded, TooLong):
            return "too_long"
        partition = Partition(embedder_id=embedder.id, arm=asked.arm, template_id=asked.namespace)
        scope = scope_of(asked.request.document, asked.route_class, question=question, partition=partition)
        return Place(
            asked=asked,
            question=question,
            question_id=question_id(scope, question.text),
            scope=scope,
            vector=embedded.vector,
            open_class=open_class,
        )

    async def _among(self, place: Place, near: Sequence[Neighbour], verify: AskVerifier) -> Looked:
        """Take the nearest entry that no final guard refuses, and ask the gate."""
        asked = self._readings.of(place.question.text, place.question.words)
        first_refused: Features | None = None
        for one in near:
            features = self._readings.of(one.entry.text)
            if is_pair_refused(asked, features):
                first_refused = first_refused or features
                continue
            refusals = failed(asked, features)
            others = [other for other in near if other.entry.answer_id != one.entry.answer_id]
            margin = one.similarity - (others[0].similarity if others else NEAR)
            judged = self._judge(place, one, margin, refusals)
            if isinstance(judged.decision, Doubt) and place.open_class.state.cut is not None:
                judged = await self._verified(place, judged, verify)
            return await self._decided(place, one, judged)
        refused_by = () if first_refused is None else failed(asked, first_refused)
        return Looked(
            refused=f"guard:{','.join(refused_by)}",
            similarity=near[0].similarity,
            nearest=near[0].entry.answer_id,
            place=place,
        )

    def _judge(self, place: Place, near: Neighbour, margin: float, refusals: tuple[str, ...]) -> Judged:
        state, now = place.open_class.state, self.parts.clock.now()
        known = state.answers.get(near.entry.answer_id, NOTHING_KNOWN)
        features = features_of_pair(
            similarity=near.similarity,
            margin=max(-0.2, margin),
            age_s=max(0.0, now - near.entry.created_at),
            aliases=len(known.aliases),
            differences=pair_features(
                self._readings.of(place.question.text, place.question.words), self._readings.of(near.entry.text)
            ),
            failed=refusals,
        )
        verdict = known.verdict_on(place.question_id)
        pair = Pair(
            answer_id=near.entry.answer_id,
            question=place.question_id,
            features=with_verdict(features, verdict),
            worth_nanousd=int(near.entry.value),
            verdict=verdict,
        )
        decision = decide(state, pair, place.open_class.rules, at_s=now, draw=self.parts.rng.random())
        return Judged(entry=near.entry, pair=pair, decision=decision)

    async def _verified(self, place: Place, judged: Judged, verify: AskVerifier) -> Judged:
        """Wait for the verifier as long as the policy lets a request wait; without its word the pair is a miss."""
        rules = place.open_class.rules
        at_most_s = rules.verify.timeout_s if rules.verify is not None else 0.0
        verdict = await verify(place, judged.entry, at_most_s=at_most_s)
        return self.settled(place, judged, verdict)

    def settled(self, place: Place, judged: Judged, verdict: Verdict) -> Judged:
        """Return a pair as the gate sees it once a verifier has said its word."""
        pair, open_class = judged.pair.judged(verdict), place.open_class
        now, draw = self.parts.clock.now(), self.parts.rng.random()
        decision = settle(open_class.state, pair, open_class.rules, at_s=now, draw=draw)
        return replace(judged, pair=pair, decision=decision)

    async def _decided(self, place: Place, near: Neighbour, judged: Judged) -> Looked:
        def missed(refused: str, *, teaches: bool = True) -> Looked:
            kept = judged if teaches else None
            entry = near.entry
            return Looked(
                refused=refused, similarity=near.similarity, nearest=entry.answer_id, place=place, judged=kept
            )

        decision, asked = judged.decision, place.asked
        if isinstance(decision, Doubt):  # a class that observes: its verifier is asked behind the answer
            return missed("gate:observing")
        if isinstance(decision, Withhold):
            return missed(f"gate:{decision.reason}")
        hit = await self.stored(near.entry)
        if hit is None:
            await self._forget(near.entry)
            return missed("gone", teaches=False)
        if not may_serve(hit.answer, asked.route_class, self.parts.catalogue()):
            return missed("not_allowed", teaches=False)
        if asked.max_age_s is not None and hit.age_s > asked.max_age_s:
            return missed("too_old", teaches=False)
        place.open_class.count_hit(decision.log_odds, hit.answer.cost_nanousd or 0)
        return Looked(similarity=near.similarity, nearest=near.entry.answer_id, hit=hit, place=place, judged=judged)

    async def _forget(self, entry: Entry) -> None:
        try:
            await self.parts.index.remove(entry.tenant, entry.scope, (entry.entry_id,))
        except StoreUnavailable:
            return


def _entry(place: Place, answer_id: str, answer: StoredAnswer) -> Entry:
    return Entry(
        entry_id=place.question_id,
        answer_id=answer_id,
        tenant=place.asked.route_class.facts.tenant,
        scope=place.scope,
        text=place.question.text,
        vector=place.vector,
        created_at=answer.created_at,
        expires_at=answer.created_at + answer.ttl_s,
        value=float(answer.cost_nanousd or 0),
    )


def question_id(scope: str, text: str) -> str:
    """Return a question's name within everything: its scope and its text, hashed."""
    return hashlib.sha256(f"{scope}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
