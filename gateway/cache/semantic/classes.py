"""The classes that this worker serves: a copy of each one's shared state, and what it has to tell of them.

A class is a tenant's traffic on one route under one promise, one embedder and one version of the guards: change one of
them and another class begins. Must not decide anything about a request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from gateway.cache.semantic import cuts
from gateway.cache.semantic.events import AskedTwice, Counted, Event, Labelled
from gateway.cache.semantic.guards import GUARD_VERSION
from gateway.cache.semantic.shared_state import Runner, SharedState
from gateway.cache.semantic.state import ClassState
from gateway.cache.semantic.types import Vector
from gateway.ports import Clock, StoreUnavailable
from gateway.supervisor import Supervisor, SupervisorClosed
from policies.model import RouteClass
from policies.rules import SemanticRules

TURN_S: Final = 0.3
"""Between two round trips for a class: so late, at most, does a worker learn of the others' labels."""
OPEN_WAIT_S: Final = 0.05
IDLE_S: Final = 60.0
MOST_CLASSES: Final = 1000
MOST_WAITING: Final = 1000


class ClassName(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a class is called, in Redis and by operators."""

    tenant: str
    policy: str
    route: str
    mark: str

    def __str__(self) -> str:
        parts = (self.tenant, self.policy, self.route, self.mark)
        return ":".join(quote(part, safe="") for part in parts)

    @classmethod
    def parse(cls, written: str) -> ClassName | None:
        """Return the name that was written so, None for another kind of text."""
        parts = [unquote(part) for part in written.split(":")]
        if len(parts) != 4:
            return None
        return cls(tenant=parts[0], policy=parts[1], route=parts[2], mark=parts[3])


def class_name(route_class: RouteClass, rules: SemanticRules, *, embedder_id: str, arm: str) -> ClassName:
    """Return the class of a request: every change that would make old labels worthless is in its mark."""
    promise = (rules.wrong_per_hit, rules.wrong_per_request, rules.verify and rules.verify.model)
    mark = _mark(promise, embedder_id, arm, route_class.route.epoch)
    facts = route_class.facts
    return ClassName(tenant=facts.tenant, policy=route_class.policy, route=route_class.route.name, mark=mark)


@lru_cache(maxsize=1024)
def _mark(promise: tuple[float, float, str | None], embedder_id: str, arm: str, epoch: int) -> str:
    marked = repr((promise, embedder_id, GUARD_VERSION, arm, epoch))
    return hashlib.sha256(marked.encode()).hexdigest()[:12]


@dataclass(slots=True, kw_only=True, eq=False)
class OpenClass:
    """One class in this worker. `stranger` is a question and its answer, both as vectors, to compare others with;
    `told_*` are this worker's own labels since somebody last took them.
    """

    name: ClassName
    shared: SharedState
    used_s: float
    opening: asyncio.Task[None] | None = None
    waiting: list[Event] = field(default_factory=list)
    requests: int = 0
    hits: list[int] = field(default_factory=lambda: [0] * len(cuts.CUTS))
    saved_nanousd: int = 0
    stranger: tuple[Vector, Vector] | None = None
    told_labels: int = 0
    told_cost_nanousd: int = 0

    @property
    def state(self) -> ClassState:
        """What is known of the class, as far as this worker has heard."""
        return self.shared.state

    @property
    def rules(self) -> SemanticRules:
        """What the route promises."""
        return self.shared.rules

    def note(self, event: Event) -> None:
        """Tell everybody, soon; while the store is away the newest wait."""
        self.waiting.append(event)
        if isinstance(event, Labelled | AskedTwice):
            self.told_labels += 1
            self.told_cost_nanousd += event.cost_nanousd
        del self.waiting[:-MOST_WAITING]

    def count_hit(self, log_odds: float, saved_nanousd: int) -> None:
        """Count one served answer."""
        self.hits[max(0, cuts.bin_of(log_odds))] += 1
        self.saved_nanousd += saved_nanousd

    def take_counts(self, at_s: float) -> None:
        """Turn what was counted into an event."""
        if not self.requests and not any(self.hits):
            return
        self.note(Counted(requests=self.requests, hits=tuple(self.hits), saved_nanousd=self.saved_nanousd, at_s=at_s))
        self.requests, self.hits, self.saved_nanousd = 0, [0] * len(cuts.CUTS), 0


class Classes:
    """See the module. One per worker."""

    def __init__(self, runner: Runner, *, supervisor: Supervisor, clock: Clock) -> None:
        self._runner = runner
        self._supervisor = supervisor
        self._clock = clock
        self._open: OrderedDict[ClassName, OpenClass] = OrderedDict()

    def start(self) -> None:
        """Begin to tell and to hear, until the supervisor closes; needs a running loop."""
        self._supervisor.every(TURN_S, self.turn, name="semantic classes")

    def __iter__(self) -> Iterator[OpenClass]:
        return iter(tuple(self._open.values()))

    async def open(self, name: ClassName, rules: SemanticRules) -> OpenClass | None:
        """Return the class; None while its state is still being read, or where it cannot be."""
        found = self._open.get(name)
        if found is None:
            shared = SharedState(self._runner, str(name), rules)
            found = self._open[name] = OpenClass(name=name, shared=shared, used_s=self._clock.monotonic())
            try:
                found.opening = self._supervisor.spawn(self._begin(found), name="semantic class")
            except SupervisorClosed:
                return None
            if len(self._open) > MOST_CLASSES:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        found.shared.rules, found.used_s = rules, self._clock.monotonic()
        if found.opening is not None:
            await asyncio.wait({found.opening}, timeout=OPEN_WAIT_S)
        return found if found.opening is None else None

    async def turn(self) -> None:
        """Tell and hear once, for every class in use; without the store, later."""
        now_s = self._clock.monotonic()
        for found in self:
            if now_s - found.used_s <= IDLE_S or found.waiting:
                await self._exchange(found)

    async def close(self) -> None:
        """Tell what has not been told yet, and leave a snapshot: who starts next begins with it, not with the log."""
        for found in self:
            await self._exchange(found)
            if found.opening is None:
                with suppress(StoreUnavailable):
                    await found.shared.save()

    async def _begin(self, found: OpenClass) -> None:
        try:
            await found.shared.refresh()
        except StoreUnavailable:
            self._open.pop(found.name, None)  # the next question tries again
            return
        found.opening = None

    async def _exchange(self, found: OpenClass) -> None:
        if found.opening is not None:
            return
        found.take_counts(self._clock.now())
        events, found.waiting = found.waiting, []
        try:
            await found.shared.append(events)
            await found.shared.refresh()
        except StoreUnavailable:
            # Some may have arrived: a label that counts twice is rare, one that is lost is not made again.
            if not found.waiting:
                found.waiting = events
