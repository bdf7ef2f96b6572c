"""Tells ops what the engine keeps as data: breakers, places, queues and the retry budget, as metrics and log lines.

Must not change anything of the engine's but take the changes it has kept for this; no request waits for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import structlog

from gateway.metrics import Metrics
from router.breaker import BreakerChange, BreakerState
from router.traffic import Traffic
from router.types import Deployment

LOOK_S: Final = 0.5
_LEVELS: Final[dict[BreakerState, int]] = {"closed": 0, "half_open": 1, "open": 2}

log = structlog.get_logger()


class TrafficWatch:
    """Looks at one worker's `traffic`; remembers the totals that it has counted already."""

    def __init__(self, traffic: Traffic, deployments: Sequence[Deployment], metrics: Metrics) -> None:
        self.traffic = traffic
        self._metrics = metrics
        self._by_id = {deployment.id: deployment for deployment in deployments}
        self._ids: dict[tuple[str, str], list[str]] = defaultdict(list)
        for deployment in deployments:
            self._ids[deployment.group, deployment.provider].append(deployment.id)
        self._refused = 0
        self._queued: dict[tuple[str, str], tuple[int, int]] = {}

    async def look(self) -> None:
        """Bring the metrics up to date and log each transition of a breaker since the last look, once."""
        for change in self.traffic.breakers.take_changes():
            self._tell(change)
        refused = self.traffic.budget.refused
        self._metrics.repetitions_refused(refused - self._refused)
        self._refused = refused
        for pair in self._ids:
            self._measure(*pair)

    def _measure(self, group: str, provider: str) -> None:
        places, ids = self.traffic.places, self._ids[group, provider]
        self._metrics.deployment_levels(
            group,
            provider,
            breaker=max(_LEVELS[self.traffic.breakers.state(name)] for name in ids),
            in_flight=sum(places.in_flight(name) for name in ids),
            waiting=sum(places.waiting(name) for name in ids),
        )
        queued, dropped = sum(places.queued(name) for name in ids), sum(places.dropped(name) for name in ids)
        before_queued, before_dropped = self._queued.get((group, provider), (0, 0))
        self._metrics.queue_moved(group, provider, queued=queued - before_queued, dropped=dropped - before_dropped)
        self._queued[group, provider] = queued, dropped

    def _tell(self, change: BreakerChange) -> None:
        known = self._by_id.get(change.deployment_id)
        group, provider = (known.group, known.provider) if known is not None else ("", "")
        self._metrics.breaker_changed(group, provider, change.after)
        tell = log.warning if change.after == "open" else log.info
        tell(
            f"breaker is {change.after.replace('_', ' ')}",
            deployment_id=change.deployment_id,
            routed_model=group,
            provider=provider,
            before=change.before,
            reason=change.reason,
        )
