"""Whether there is room for a warm: its deployment is well, and this process's calls to it are below half its limit.

Must not count others' calls: the gateway's workers have limits of their own, and theirs go first at their queues.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from router.ports import Clock
from router.traffic import Traffic
from router.types import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """See the module."""

    traffic: Traffic
    deployments: Callable[[], Sequence[Deployment]]
    clock: Clock

    def has_room(self, groups: Collection[str]) -> bool:
        """Return whether each of these model groups has a deployment that could take one more."""
        now_s = self.clock.monotonic()
        free = {
            one.group
            for one in self.deployments()
            if one.group in groups and self.traffic.is_open(one.id, now_s) and self._is_half_empty(one.id)
        }
        return free == set(groups)

    def _is_half_empty(self, deployment_id: str) -> bool:
        places = self.traffic.places
        return not places.waiting(deployment_id) and 2 * places.in_flight(deployment_id) < places.limit(deployment_id)
