"""How many calls a deployment may have at once, learnt from its 429s, and the queue in front of it.

Must not call anybody or read a clock, and knows nothing of plans: a caller whose place was refused decides what next.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from router.types import SHED_ORDER, Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyRules:
    """Calls at once: at most `maximum`, never below `minimum`, × `decrease` after a 429, +1 a round of good answers.

    An answer is good where its first token took no longer than `slow_ratio` times the median (total time would say how
    long the answer was). `queue` callers may wait for a deployment, `queue_per_tenant` of one tenant.
    """

    maximum: int = 256
    minimum: int = 2
    decrease: float = 0.7
    slow_ratio: float = 2.0
    queue: int = 256
    queue_per_tenant: int = 64


DEFAULT_CONCURRENCY = ConcurrencyRules()


@dataclass(slots=True, kw_only=True)
class _Waiting:
    tenant: str
    given: asyncio.Future[bool]


@dataclass(slots=True)
class _Gate:
    limit: float
    in_flight: int = 0
    decreased_at_s: float = float("-inf")
    waiting: int = 0
    queued: int = 0
    dropped: int = 0
    tenants: Counter[str] = field(default_factory=Counter)
    queues: dict[Priority, deque[_Waiting]] = field(default_factory=dict)


class ConcurrencyLimits:
    """All limits of this process, by deployment id. A place that was given is given back by exactly one `release`."""

    def __init__(self, rules: ConcurrencyRules) -> None:
        self._rules = rules
        self._by_id: dict[str, _Gate] = {}

    def limit(self, deployment_id: str) -> int:
        """Return how many calls may be in flight now."""
        return int(self._gate(deployment_id).limit)

    def in_flight(self, deployment_id: str) -> int:
        """Return how many calls are in flight."""
        return self._gate(deployment_id).in_flight

    def waiting(self, deployment_id: str) -> int:
        """Return how many callers wait for a place."""
        return self._gate(deployment_id).waiting

    def queued(self, deployment_id: str) -> int:
        """Return how many callers have begun to wait for a place, ever."""
        return self._gate(deployment_id).queued

    def dropped(self, deployment_id: str) -> int:
        """Return how many callers have been sent away without a place, ever; those that left by themselves are not."""
        return self._gate(deployment_id).dropped

    def is_lowered(self, deployment_id: str) -> bool:
        """Say whether a 429 has lowered the limit, and good answers have not raised it again."""
        return self._gate(deployment_id).limit < self._rules.maximum

    def take(self, deployment_id: str) -> bool:
        """Take a place if there is one and nobody waits for it."""
        gate = self._gate(deployment_id)
        if gate.waiting or gate.in_flight >= int(gate.limit):
            return False
        gate.in_flight += 1
        return True

    async def wait(self, deployment_id: str, *, priority: Priority, tenant: str, at_most_s: float) -> bool:
        """Wait for a place for at most `at_most_s`; False where there was none, or a better caller took the spot.

        A cancelled caller leaves the queue, and gives back a place that it was just given.
        """
        gate = self._gate(deployment_id)
        if at_most_s <= 0 or gate.tenants[tenant] >= self._rules.queue_per_tenant:
            return _drop(gate)
        if gate.waiting >= self._rules.queue and not self._shed(gate, priority):
            return _drop(gate)
        waiting = _Waiting(tenant=tenant, given=asyncio.get_running_loop().create_future())
        gate.queues.setdefault(priority, deque()).append(waiting)
        gate.waiting += 1
        gate.queued += 1
        gate.tenants[tenant] += 1
        is_given = False
        try:
            async with asyncio.timeout(at_most_s):
                is_given = await waiting.given
        except TimeoutError:
            return _drop(gate)
        finally:
            if not is_given:
                self._leave(deployment_id, gate, priority, waiting)
        return is_given or _drop(gate)

    def release(self, deployment_id: str) -> None:
        """Give a place back, to whoever has waited longest among those who matter most."""
        gate = self._gate(deployment_id)
        gate.in_flight -= 1
        self._hand_out(gate)

    def refused(self, deployment_id: str, *, started_s: float, now_s: float) -> None:
        """Lower the limit after a 429; several to calls of the same burst count once."""
        gate = self._gate(deployment_id)
        if started_s < gate.decreased_at_s:
            return
        reached = min(gate.limit, float(gate.in_flight))
        gate.limit = max(float(self._rules.minimum), reached * self._rules.decrease)
        gate.decreased_at_s = now_s

    def answered(self, deployment_id: str, *, first_token_s: float, median_s: float | None) -> None:
        """Raise the limit a little where it was needed and the deployment is not getting slow."""
        gate, rules = self._gate(deployment_id), self._rules
        if gate.limit >= rules.maximum or gate.in_flight * 2 < gate.limit:
            return
        if median_s is not None and first_token_s > rules.slow_ratio * median_s:
            return
        gate.limit = min(float(rules.maximum), gate.limit + 1 / gate.limit)
        self._hand_out(gate)

    def _gate(self, deployment_id: str) -> _Gate:
        found = self._by_id.get(deployment_id)
        if found is None:
            found = self._by_id[deployment_id] = _Gate(float(self._rules.maximum))
        return found

    def _hand_out(self, gate: _Gate) -> None:
        if not gate.waiting:
            return
        for priority in reversed(SHED_ORDER):
            queue = gate.queues.get(priority)
            while queue and gate.in_flight < int(gate.limit):
                waiting = queue.popleft()
                _forget(gate, waiting)
                if not waiting.given.done():
                    gate.in_flight += 1
                    waiting.given.set_result(True)

    def _shed(self, gate: _Gate, priority: Priority) -> bool:
        """Send the last comer of the least important callers away, if it matters less than `priority`."""
        for lesser in SHED_ORDER[: SHED_ORDER.index(priority)]:
            queue = gate.queues.get(lesser)
            if queue:
                waiting = queue.pop()
                _forget(gate, waiting)
                if not waiting.given.done():
                    waiting.given.set_result(False)
                return True
        return False

    def _leave(self, deployment_id: str, gate: _Gate, priority: Priority, waiting: _Waiting) -> None:
        queue = gate.queues[priority]
        if waiting in queue:
            queue.remove(waiting)
            _forget(gate, waiting)
        elif waiting.given.done() and not waiting.given.cancelled() and waiting.given.result():
            self.release(deployment_id)  # given in the very turn in which its caller was cancelled


def _drop(gate: _Gate) -> bool:
    """Count a caller that was sent away, and return that it has no place."""
    gate.dropped += 1
    return False


def _forget(gate: _Gate, waiting: _Waiting) -> None:
    gate.waiting -= 1
    gate.tenants[waiting.tenant] -= 1
    if not gate.tenants[waiting.tenant]:
        del gate.tenants[waiting.tenant]
