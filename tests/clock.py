"""A clock that stands still until a test winds it."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class FakeClock:
    """Implements gateway.ports.Clock. `wind` moves time on and wakes whoever has slept long enough."""

    def __init__(self, *, now: float = 1_000_000.0) -> None:
        self._elapsed = 0.0
        self._started_at = now
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def monotonic(self) -> float:
        return self._elapsed

    def now(self) -> float:
        return self._started_at + self._elapsed

    async def sleep(self, delay_s: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + delay_s, next(self._order), future))
        await future

    def wind(self, delay_s: float) -> None:
        self._elapsed += delay_s
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
