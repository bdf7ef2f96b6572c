"""Makes one worker's caches from the settings: the exact one, and where it can be the semantic tier with all its parts.

Opens no connection and starts nothing: `start` does, in the loop.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

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
from gateway.cache.semantic.types import Embedder, Index
from gateway.cache.withdraw import LISTEN_S, Listener
from gateway.embedder.client import EmbedderClient
from gateway.embedder.connect import local_embedder
from gateway.embedder.provider import ProviderEmbedder
from gateway.keys import Caller
from gateway.knowledge.knowledge import NO_EMBEDDER
from gateway.lane import Transition
from gateway.metrics import Metrics
from gateway.ports import Clock
from gateway.semantic.again import Background, LateRun, Run
from gateway.semantic.hook import SemanticHook
from gateway.semantic.lessons import Lessons
from gateway.semantic.refresh import Refresher
from gateway.semantic.verifier import Verifier
from gateway.semantic.watch import WATCH_S, SemanticWatch
from gateway.setting_types import LITELLM_EMBEDDER
from gateway.settings import Settings
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.model import Catalogue
from router.facts import DoorLimits

log = structlog.get_logger()

OFF = "the semantic cache is off"
LEAST_WINDOW = 512
"""Tokens that a provider's embedding model reads at least, where nobody says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the cache finds in its worker."""

    settings: Settings
    store: RedisStore | MemoryStore
    supervisor: Supervisor
    clock: Clock
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantic:
    """The caches of one worker: what the flow calls, and what is started and closed.

    `space` is the id of the embedder whose vectors trails carry."""

    exact: ExactCache
    hook: SemanticHook
    refresher: Refresher
    listener: Listener
    embedder: EmbedderClient | None = None
    watch: SemanticWatch | None = None
    space: str = NO_EMBEDDER
    asks: LateRun = field(default_factory=LateRun)

    def ask_by(self, run: Run) -> None:
        """Say how a provider's embedding model is asked: by the flow that these caches are a part of."""
        self.asks.run = run

    @property
    def index(self) -> Index | None:
        """Where questions are searched, None where the tier is off."""
        return None if self.hook.tier is None else self.hook.tier.parts.index

    @property
    def classes(self) -> Classes | None:
        """The classes of this worker, None where the tier is off."""
        return None if self.hook.tier is None else self.hook.tier.parts.classes

    async def start(self, supervisor: Supervisor) -> None:
        """Begin the work that keeps it true, before the first request: who withdraws must know of this worker."""
        await self.listen()
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
    found: Surroundings, *, catalogue: Callable[[], Catalogue], seed: int, embedder: Embedder | None = None
) -> Semantic:
    """Return the tier, or an off one without an embedder or without Redis, with the exact cache that it stands on.

    `embedder` stands in for the settings' own.
    """
    settings, clock, name = found.settings, found.clock, secrets.token_hex(8)
    exact = ExactCache(found.store, clock, max_bytes=settings.memory_cache_bytes)
    limits = DoorLimits(max_nesting_depth=settings.max_nesting_depth, max_messages=settings.max_messages)
    client, asks = None if embedder is not None else _embedder(found), LateRun()
    chosen: Embedder | None = embedder or client or _provider_embedder(found, catalogue(), asks, limits)
    tier = None
    if chosen is not None and isinstance(found.store, RedisStore):
        index = _index(found, found.store, dim=chosen.dim, name=name, rng=random.Random(seed))
        tier = SemanticTier(
            TierParts(
                embedder_for=chosen.for_caller if isinstance(chosen, ProviderEmbedder) else lambda _: chosen,
                index=index,
                exact=exact,
                classes=Classes(found.store, supervisor=found.supervisor, clock=clock),
                quota=WriteQuota(clock, per_minute=settings.semantic_writes_per_minute),
                catalogue=catalogue,
                clock=clock,
                rng=random.Random(seed),
                on_embed=found.metrics.embedded,
            )
        )
    background = Background(supervisor=found.supervisor)
    return Semantic(
        exact=exact,
        hook=_hook(found, tier, background, limits),
        refresher=Refresher(claims=found.store, background=background, limits=limits),
        listener=Listener(found.store, exact, worker=name, clock=clock),
        embedder=client,
        space=NO_EMBEDDER if tier is None or chosen is None else chosen.id,
        watch=None if tier is None else SemanticWatch(tier.parts, background, metrics=found.metrics),
        asks=asks,
    )


def _hook(found: Surroundings, tier: SemanticTier | None, background: Background, limits: DoorLimits) -> SemanticHook:
    return SemanticHook(
        tier=tier,
        lessons=None if tier is None else Lessons(tier, background, clock=found.clock),
        background=background,
        verifier=_verifier(found, limits),
        limits=limits,
        metrics=found.metrics,
    )


def _verifier(found: Surroundings, limits: DoorLimits) -> Verifier:
    background = Background(supervisor=found.supervisor)
    return Verifier(background=background, limits=limits, metrics=found.metrics, clock=found.clock)


def _provider_embedder(
    found: Surroundings, catalogue: Catalogue, asks: LateRun, limits: DoorLimits
) -> ProviderEmbedder | None:
    """Return the embedder that the settings name a group of the models file for; warns where it cannot be one."""
    settings = found.settings
    if not settings.embedder.startswith(LITELLM_EMBEDDER):
        return None
    group = settings.embedder.removeprefix(LITELLM_EMBEDDER)
    card = catalogue.get(group)
    if card is None or card.mode != "embeddings":
        log.warning(
            OFF, why=f"embedder: {group}: must be a group of the models file with mode embedding that is in use"
        )
        return None
    if card.vector_size is None:
        log.warning(OFF, why=f"embedder: {group}: its model_info must have output_vector_size, the same for all of it")
        return None
    return ProviderEmbedder(
        run=asks,
        group=group,
        dim=card.vector_size,
        window=card.context_window or LEAST_WINDOW,
        timeout_s=settings.embedder_timeout_s,
        clock=found.clock,
        limits=limits,
        caller=Caller(tenant="", key_id="", allowed_models=None),
    )


def _embedder(found: Surroundings) -> EmbedderClient | None:
    return local_embedder(
        found.settings, supervisor=found.supervisor, clock=found.clock, on_transition=_tell_transition
    )


def _index(
    found: Surroundings, store: RedisStore, *, dim: int, name: str, rng: random.Random
) -> LocalIndex | VectorSetIndex:
    records = Records(store)
    if found.settings.semantic_index == "vector_set":
        return VectorSetIndex(store, records, dim=dim, clock=found.clock)
    return LocalIndex(
        records,
        Feed(store, worker=name),
        dim=dim,
        bounds=Bounds(max_bytes=found.settings.semantic_memory_bytes),
        supervisor=found.supervisor,
        clock=found.clock,
        rng=rng,
    )


def _tell_transition(transition: Transition) -> None:
    tell = log.info if transition.state == "up" else log.warning
    tell(f"embedder is {transition.state}", reason=transition.reason)
