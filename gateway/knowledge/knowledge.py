"""What the gateway learns of models' quality from judged answers: the owner of one worker's copy.

Labels are a bounded stream in the store that every worker reads, so that all know the same. Must not make a request
wait, but for feedback itself; while the store is away what was known last holds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeVar

import msgspec

from gateway.cache.semantic.types import Vector
from gateway.knowledge.basis import pack
from gateway.knowledge.labels import Decision, Label, Learnt, Source, decision_of, encode, label_for, label_of
from gateway.knowledge.snapshot import HOUR_S, Snapshot, build
from gateway.outcome import Outcome
from gateway.ports import Clock, StoreUnavailable
from policies.arms import task_of
from policies.evidence import NOTHING, Arm, Evidence
from policies.model import RouteClass

STREAM: Final = "foreword:knowledge:labels"
MAX_LABELS: Final = 20_000
PLACES: Final = 65_536
"""Decisions that await a judgement: each has a place by its hash, and a later one on that place takes it."""
NO_EMBEDDER: Final = ""
"""The space of a gateway without vectors: then there are task means alone."""
REMEMBER_S: Final = 86_400.0
SETTLE_S: Final = 2.0
"""A step's answer that no repair was asked for within this time fitted its schema."""
REBUILD_S: Final = 10.0
POLL_S: Final = 1.0
_PAGE: Final = 1000
_WAITING: Final = 4096
_REPAIR: Final = ".repair"

T = TypeVar("T")


class LabelStore(Protocol):
    """The part of a store that this needs; all but `put_soon` raise StoreUnavailable."""

    async def get(self, key: str) -> bytes | None: ...
    def put_soon(self, key: str, value: bytes, *, ttl_s: float) -> None: ...
    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None: ...
    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None: ...
    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]: ...


class Versions(Protocol):
    """Who compares the versions of a policy while a new one takes over."""

    def wants_quality(self, policy: str) -> bool:
        """Whether judged answers of this policy tell its versions apart now."""
        ...

    def record_quality(self, policy: str, version: str, quality: float) -> None:
        """Take one judged answer, from 0 to 1."""
        ...


Verdict = Literal["learnt", "unknown", "given"]
"""What became of feedback: taken; nobody knows the request; it has had some."""


class Knowledge:
    """See the module. `space` is the id of the embedder whose vectors these are."""

    def __init__(
        self,
        store: LabelStore,
        clock: Clock,
        *,
        space: str,
        max_labels: int = MAX_LABELS,
        versions: Versions | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._space = space
        self._max_labels = max_labels
        self._versions = versions
        self._labels: deque[Label] = deque(maxlen=max_labels)
        self._last_id = "0-0"
        self._snapshot = Snapshot()
        self._built: tuple[str, int] = ("", -1)
        self._built_at = -REBUILD_S
        self._outgoing: deque[Label] = deque(maxlen=_WAITING)
        self._vectors: OrderedDict[str, bytes] = OrderedDict()
        self._decided: OrderedDict[str, Decision] = OrderedDict()
        self._unsettled: OrderedDict[str, float] = OrderedDict()
        self._counts: dict[Source, int] = {}

    @property
    def snapshot(self) -> Snapshot:
        """What is known now."""
        return self._snapshot

    def evidence(self, route_class: RouteClass, *, request_id: str, vector: Vector | None) -> Evidence:
        """Return what `choose` may know for this request: at most 1 ms with a vector, microseconds without."""
        rules = route_class.route.knn
        if rules is None:
            return NOTHING
        if vector is not None:
            _keep(self._vectors, request_id, pack(vector))
        return self._snapshot.evidence(route_class.policy, task_of(route_class.facts.tags), vector, rules)

    def record(self, outcome: Outcome) -> None:
        """Remember who answered, where a judgement would teach something, until there is one. No wait."""
        packed = self._vectors.pop(outcome.request_id, b"")
        if outcome.result != "ok" or not outcome.routed_model or not self.teaches(outcome.policy, outcome.arm):
            return
        is_choice = bool(outcome.attempts) and outcome.attempts[0].group == outcome.routed_model
        is_choice = is_choice and outcome.origin != "shadow"
        decision = Decision(
            tenant=outcome.tenant,
            request_id=outcome.request_id,
            policy=outcome.policy,
            policy_version=outcome.policy_version,
            route=outcome.route,
            task=task_of(outcome.tags),
            group=outcome.routed_model,
            # Whoever stood in for the choice teaches what they are worth, but not what the arm is.
            arm=outcome.arm if is_choice or not outcome.arm else "fixed",
            packed=packed,
        )
        self._store.put_soon(place_of(decision.tenant, decision.request_id), encode(decision), ttl_s=REMEMBER_S)
        _keep(self._decided, outcome.request_id, decision)
        if outcome.endpoint == "pipeline-step":
            self._note_step(outcome.request_id)

    def teaches(self, policy: str, arm: Arm) -> bool:
        """Whether judging an answer teaches anything: a route with a floor chose it, or two versions are compared."""
        return arm != "" or (self._versions is not None and self._versions.wants_quality(policy))

    def judged(self, request_id: str, quality: float, *, source: Source) -> Decision | None:
        """Take a judgement, from 0 to 1, of an answer this worker gave lately; None where it did not. No wait."""
        decision = self._decided.get(request_id)
        if decision is not None:
            self._teach(decision, quality, source)
        return decision

    async def feedback(self, tenant: str, request_id: str, quality: float) -> tuple[Verdict, Decision | None]:
        """Take a client's judgement of an answer that any worker gave its tenant. Raises StoreUnavailable."""
        place = place_of(tenant, request_id)
        raw = await self._store.get(place)
        decision = None if raw is None else decision_of(raw)
        if decision is None or (decision.tenant, decision.request_id) != (tenant, request_id):
            return "unknown", None
        if decision.has_feedback:
            return "given", decision
        # Written first: feedback that is lost can be sent again, feedback that counts twice cannot be taken back.
        await self._store.put(place, encode(msgspec.structs.replace(decision, has_feedback=True)), ttl_s=REMEMBER_S)
        self._teach(decision, quality, "feedback")
        return "learnt", decision

    async def poll(self) -> Learnt:
        """Share what was judged here, read what others shared, and build a new snapshot every few seconds.

        While the store is away the labels wait here, the newest 4096 of them.
        """
        self._settle()
        try:
            await self._share()
            await self._read()
        except StoreUnavailable:
            pass
        await self._rebuild()
        counts, self._counts = self._counts, {}
        return Learnt(by_source=counts, labels=self._snapshot.labels)

    def _note_step(self, request_id: str) -> None:
        if request_id.endswith(_REPAIR):
            asked = request_id.removesuffix(_REPAIR)
            if self._unsettled.pop(asked, None) is not None:
                self.judged(asked, 0.0, source="schema")
            return
        _keep(self._unsettled, request_id, self._clock.monotonic() + SETTLE_S)

    def _settle(self) -> None:
        now = self._clock.monotonic()
        for request_id in [name for name, due in self._unsettled.items() if due <= now]:
            del self._unsettled[request_id]
            self.judged(request_id, 1.0, source="schema")

    def _teach(self, decision: Decision, quality: float, source: Source) -> None:
        at = self._clock.now()
        self._outgoing.append(label_for(decision, quality=quality, source=source, at=at, space=self._space))
        self._counts[source] = self._counts.get(source, 0) + 1
        if self._versions is not None:
            self._versions.record_quality(decision.policy, decision.policy_version, quality)

    async def _share(self) -> None:
        waiting = tuple(self._outgoing)
        if not waiting:
            return
        await self._store.append(STREAM, [encode(label) for label in waiting], max_entries=self._max_labels)
        for _ in waiting:
            if self._outgoing:
                self._outgoing.popleft()

    async def _read(self) -> None:
        while True:
            entries = await self._store.read(STREAM, after=self._last_id, limit=_PAGE)
            for entry_id, raw in entries:
                self._last_id = entry_id
                label = label_of(raw)
                if label is not None:
                    self._labels.append(label)
            if len(entries) < _PAGE:
                return

    async def _rebuild(self) -> None:
        now = self._clock.now()
        wanted = (self._last_id, int(now // HOUR_S))
        due = self._clock.monotonic() - self._built_at >= REBUILD_S
        if wanted == self._built or not due or not self._labels:
            return
        labels = tuple(self._labels)
        self._snapshot = await asyncio.to_thread(build, labels, last_id=self._last_id, now=now, space=self._space)
        self._built, self._built_at = wanted, self._clock.monotonic()


def place_of(tenant: str, request_id: str) -> str:
    """Return the key under which a decision awaits its judgement."""
    digest = hashlib.sha256(f"{tenant}\0{request_id}".encode()).digest()
    return f"foreword:decided:{int.from_bytes(digest[:4], 'big') % PLACES}"


def _keep(table: OrderedDict[str, T], name: str, value: T) -> None:
    """Add to a table that keeps its newest."""
    table[name] = value
    if len(table) > _WAITING:
        table.popitem(last=False)
