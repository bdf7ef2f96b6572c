"""What the endpoints share, under typed application keys. Wiring only; app.py fills it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from gateway.budgets.desk import Desk
from gateway.budgets.spending import Spending
from gateway.cache.recall import Recall
from gateway.flow import Flow
from gateway.http.departures import Departures
from gateway.interactions import Interactions
from gateway.keys import Keys
from gateway.knowledge.feedback import Feedback
from gateway.knowledge.knowledge import Knowledge
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.ports import Clock
from gateway.settings import Settings
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from policies.book import PolicyBook
from router.deployments import LiteLLMDeployments
from router.facts import DoorLimits


@dataclass(slots=True, kw_only=True)
class Services:
    """One worker's parts. `is_ready` is False while starting and draining; `open_by_key` counts open requests."""

    settings: Settings
    limits: DoorLimits
    clock: Clock
    keys: Keys
    flow: Flow
    ledger: Ledger
    recall: Recall
    interactions: Interactions
    book: PolicyBook
    store: RedisStore | MemoryStore
    desk: Desk
    deployments: LiteLLMDeployments
    metrics: Metrics
    sink: Callable[[Outcome], None]
    report_crash: Callable[[str, BaseException], None]
    details: Callable[[], dict[str, object]]
    knowledge: Knowledge
    tell_feedback: Callable[[str, Feedback], None]
    is_ready: bool = False
    open_by_key: dict[str, int] = field(default_factory=dict)
    numbers: random.Random = field(default_factory=random.Random)
    departures: Departures = field(default_factory=Departures)

    def new_request_id(self) -> str:
        """Return an id that nobody has: 96 random bits. The generator was seeded after the fork."""
        return f"req-{self.numbers.getrandbits(96):024x}"


SERVICES = web.AppKey("services", Services)
REQUEST_ID = web.RequestKey("request_id", str)
CALLER_TENANT = web.RequestKey("tenant", str)
SPENDING = web.RequestKey("spending", Spending)
"""Only where the caller's policy has budgets or limits."""
