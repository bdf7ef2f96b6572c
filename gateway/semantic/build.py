"""Makes one worker's semantic tier from the settings: embedder, index, classes, and the hook that the flow calls.

Opens no connection and starts nothing: `start` does, in the loop.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from gateway.cache.exact import ExactCache
from gateway.cache.semantic.classes import Classes
from gateway.cache.semantic.index.feed import Feed
from gateway.cache.semantic.index.local import Bounds, LocalIndex
from gateway.cache.semantic.index.records import Records
from gateway.cache.semantic.index.vector_set import VectorSetIndex
from gateway.cache.semantic.quota import WriteQuota
from gateway.cache.semantic.tier import SemanticTier, TierParts
from gateway.cache.semantic.types import Embedder
from gateway.cache.withdraw import LISTEN_S, Listener
from gateway.embedder.client import EmbedderClient
from gateway.embedder.connect import local_embedder
from gateway.lane import Transition
from gateway.metrics import Metrics
from gateway.ports import Clock
from gateway.semantic.again import Background
from gateway.semantic.hook import SemanticHook
from gateway.semantic.watch import WATCH_S, SemanticWatch
from gateway.settings import Settings
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.model import Catalogue
from router.facts import DoorLimits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the tier finds in its worker."""

    store: RedisStore | MemoryStore
    exact: ExactCache
    supervisor: Supervisor
    clock: Clock
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantic:
    """The tier of one worker: what the flow calls, and what is started and closed. Only the hook where it is off."""

    hook: SemanticHook
    listener: Listener
    embedder: EmbedderClient | None = None
    index: LocalIndex | VectorSetIndex | None = None
    classes: Classes | None = None
    watch: SemanticWatch | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin the work that keeps it true; needs a running loop."""
        supervisor.every(LISTEN_S, self.listen, name="withdrawals")
        if self.embedder is not None:
            self.embedder.start()
        if isinstance(self.index, LocalIndex):
            self.index.start()
        if self.classes is not None:
            self.classes.start()
        if self.watch is not None:
            supervisor.every(WATCH_S, self.watch.look, name="semantic watch")

    async def listen(self) -> None:
        """Drop what others have withdrawn, and write the audit line of each withdrawal."""
        for notice, dropped in await self.listener.listen():
            log.warning(
                "cache withdrawn", by=notice.by, selection=msgspec.to_builtins(notice.selection), dropped_here=dropped
            )

    async def close(self) -> None:
        """Tell the others what they have not heard yet, and that this worker leaves."""
        await self.listener.leave()
        if self.classes is not None:
            await self.classes.close()


def make_semantic(
    settings: Settings,
    found: Surroundings,
    *,
    catalogue: Callable[[], Catalogue],
    seed: int,
    embedder: Embedder | None = None,
) -> Semantic:
    """Return the tier; an off one without an embedder or without Redis. `embedder` replaces the settings' own."""
    name = secrets.token_hex(8)
    listener = Listener(found.store, found.exact, worker=name, clock=found.clock)
    client = None
    if embedder is None:
        client = local_embedder(
            settings, supervisor=found.supervisor, clock=found.clock, on_transition=_tell_transition
        )
    chosen = embedder or client
    background = Background(supervisor=found.supervisor)
    if chosen is None or isinstance(found.store, MemoryStore):
        return Semantic(hook=_hook(settings, found, None, background), listener=listener)
    index = _index(settings, found, found.store, dim=chosen.dim, name=name, rng=random.Random(seed))
    classes = Classes(found.store, supervisor=found.supervisor, clock=found.clock)
    tier = SemanticTier(
        TierParts(
            embedder_for=lambda _: chosen,
            index=index,
            exact=found.exact,
            classes=classes,
            quota=WriteQuota(found.clock, per_minute=settings.semantic_writes_per_minute),
            catalogue=catalogue,
            clock=found.clock,
            rng=random.Random(seed),
            on_embed=found.metrics.embedded,
        )
    )
    watch = SemanticWatch(classes, index=index, background=background, metrics=found.metrics, clock=found.clock)
    hook = _hook(settings, found, tier, background)
    return Semantic(hook=hook, listener=listener, embedder=client, index=index, classes=classes, watch=watch)


def _hook(settings: Settings, found: Surroundings, tier: SemanticTier | None, background: Background) -> SemanticHook:
    return SemanticHook(
        tier=tier,
        background=background,
        clock=found.clock,
        limits=DoorLimits(max_nesting_depth=settings.max_nesting_depth, max_messages=settings.max_messages),
        metrics=found.metrics,
    )


def _index(
    settings: Settings, found: Surroundings, store: RedisStore, *, dim: int, name: str, rng: random.Random
) -> LocalIndex | VectorSetIndex:
    records = Records(store)
    if settings.semantic_index == "vector_set":
        return VectorSetIndex(store, records, dim=dim, clock=found.clock)
    return LocalIndex(
        records,
        Feed(store, worker=name),
        dim=dim,
        bounds=Bounds(max_bytes=settings.semantic_memory_bytes),
        supervisor=found.supervisor,
        clock=found.clock,
        rng=rng,
    )


def _tell_transition(transition: Transition) -> None:
    tell = log.info if transition.state == "up" else log.warning
    tell(f"embedder is {transition.state}", reason=transition.reason)
