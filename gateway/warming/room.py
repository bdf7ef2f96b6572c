"""Whether there is room for a warm's call, and who holds it: the calls of all processes to its deployments, users' too,
are below half of what those allow, below what the policy says, and nobody waits for a place anywhere.

The owner of the places that warms hold. Must not call anybody; a call that is under way is not ended for a user's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.loads import Load
from gateway.ports import Clock, StoreUnavailable
from router.traffic import Traffic
from router.types import Deployment

LOOK_S: Final = 0.1
"""As often as the others tell; those who wait share a look."""
BRIEF_S: Final = 2.0
"""How long a warm of which nothing is paid yet waits for one."""
PATIENCE_S: Final = 30.0
"""How long a call waits for a place: the others of its run have been paid, and nobody waits for it."""


class NoRoom(Exception):
    """There was no room in time."""


class Loads(Protocol):
    """What gateway.loads.Loads tells."""

    def own(self) -> Sequence[Load]: ...

    async def heard(self) -> Sequence[Load]:
        """Raises StoreUnavailable."""
        ...


@dataclass(slots=True, kw_only=True)
class Room:
    """See the module. `held` counts calls of warms by model group: granted, and not ended."""

    traffic: Traffic
    deployments: Callable[[], Sequence[Deployment]]
    loads: Loads
    clock: Clock
    held: Counter[str] = field(default_factory=Counter)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    heard: Sequence[Load] = ()
    heard_s: float = float("-inf")

    async def has_room(self, groups: Collection[str], *, most: int | None) -> bool:
        """Return whether each of these model groups could take one more warm now; no, where the others are not heard.

        `most` are the calls in flight to a group, whoever made them, at which no further warm begins (None: half of
        its limit alone).
        """
        async with self.looking:
            if self.clock.monotonic() - self.heard_s >= LOOK_S / 2:
                try:
                    self.heard = await self.loads.heard()
                except StoreUnavailable:
                    return False
                self.heard_s = self.clock.monotonic()
        return all(self._is_free(group, self.heard, most=most) for group in groups)

    async def comes(self, groups: Collection[str], *, most: int | None, at_most_s: float) -> bool:
        """Wait for room for one more, `at_most_s`, and return whether there is."""
        until_s = self.clock.monotonic() + at_most_s
        while not await self.has_room(groups, most=most):
            if self.clock.monotonic() >= until_s:
                return False
            await self.clock.sleep(LOOK_S)
        return True

    @asynccontextmanager
    async def place(
        self, groups: Collection[str], *, most: int | None, at_most_s: float = PATIENCE_S
    ) -> AsyncIterator[None]:
        """Hold a place at each of these groups for the block, waiting for it. Raises NoRoom."""
        if not await self.comes(groups, most=most, at_most_s=at_most_s):
            raise NoRoom
        self.held.update(groups)  # nothing may be awaited between the look and this
        try:
            yield
        finally:
            self.held.subtract(groups)

    def _is_free(self, group: str, heard: Sequence[Load], *, most: int | None) -> bool:
        now_s = self.clock.monotonic()
        open_ones = {one.id for one in self.deployments() if one.group == group and self.traffic.is_open(one.id, now_s)}
        if not open_ones:
            return False
        others = [load for load in heard if load.deployment_id in open_ones]
        own = [load for load in self.loads.own() if load.deployment_id in open_ones]
        if any(load.waiting for load in (*others, *own)):
            return False
        # A place that is held may not have become a call yet, or have ended as one.
        busy = sum(load.in_flight for load in others) + max(self.held[group], sum(load.in_flight for load in own))
        limit = sum(self._limit(one, (*others, *own)) for one in open_ones)
        return 2 * busy < limit and (most is None or busy < most)

    def _limit(self, deployment_id: str, loads: Sequence[Load]) -> int:
        """Return what the deployment takes at once: what was learnt of it by everybody who did, each of a share."""
        learnt = [load.limit for load in loads if load.is_learnt and load.deployment_id == deployment_id]
        return sum(learnt) if learnt else self.traffic.places.limit(deployment_id)
