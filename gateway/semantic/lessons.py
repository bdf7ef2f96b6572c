"""Questions that nothing was near enough to be compared with, entered with their answers: many in one round trip.

Beside requests, never before one. Must not compare answers (Learner does) nor ask anybody.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.cache.codec import StoredAnswer
from gateway.cache.semantic.look import Place
from gateway.cache.semantic.tier import SemanticTier, Taught
from gateway.ports import Clock, StoreUnavailable
from gateway.semantic.again import Background

PAUSE_S: Final = 0.05
"""So long, a question waits for others that are entered with it; other workers still hear of it within a second."""
AT_ONCE: Final = 32
"""Entries made and written between two turns of the loop: about half a millisecond."""
MOST_WAITING: Final = 1024
"""Beyond this a question teaches another time; about 5 MB of requests."""


class Lessons:
    """One worker's. Each question waits `PAUSE_S`; what has come by then goes together."""

    def __init__(self, tier: SemanticTier, background: Background, *, clock: Clock) -> None:
        self._tier = tier
        self._background = background
        self._clock = clock
        self._waiting: deque[Taught] = deque()
        self._is_teaching = False

    def take(self, place: Place, answer: StoredAnswer) -> None:
        """Enter the question soon with the answer that its own request was given."""
        if len(self._waiting) >= MOST_WAITING or not self._tier.has_room(place):
            self._background.dropped += len(self._waiting) >= MOST_WAITING
            return
        self._waiting.append(Taught(place=place, answer_id=place.asked.key, answer=answer))
        if not self._is_teaching:
            self._is_teaching = self._background.begin(self._teach(), name="semantic-lessons", is_bounded=False)

    async def _teach(self) -> None:
        try:
            await self._clock.sleep(PAUSE_S)
            while self._waiting:
                taught = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                try:
                    await self._tier.enter_all(taught)
                except StoreUnavailable:
                    continue  # the same questions teach another time
        finally:
            self._is_teaching = False
