"""What the flow is wired from. Owned by app.py; holds no state of a request."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.archive import Archive
from gateway.budgets.desk import Desk
from gateway.cache.exact import ExactCache
from gateway.cache.inflight import InFlight
from gateway.cache.lease import Leases
from gateway.cache.recall import Recall
from gateway.judge import Judges
from gateway.knowledge.learning import Learning
from gateway.ports import Clock
from gateway.retained.keeper import Keeper
from gateway.rollout.rollouts import Rollouts
from gateway.semantic.hook import SemanticHook
from gateway.semantic.refresh import Refresher
from gateway.shadow import Shadows
from gateway.stickiness import Stickiness
from gateway.trail import Sink
from policies.book import PolicyBook
from policies.prices import Price
from router.attempts import Attempts
from router.ports import Deployments


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """See the module."""

    book: PolicyBook
    deployments: Deployments
    unhealthy: Callable[[], frozenset[str]]
    price_of: Callable[[str], Price | None]
    attempts: Attempts
    rollouts: Rollouts
    desk: Desk
    shadows: Shadows
    judges: Judges
    stickiness: Stickiness
    exact: ExactCache
    inflight: InFlight
    leases: Leases
    semantic: SemanticHook
    refresher: Refresher
    clock: Clock
    sink: Sink
    rng: random.Random
    learning: Learning
    archive: Archive
    keeper: Keeper
    recall: Recall = field(default_factory=Recall)
