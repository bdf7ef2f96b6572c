"""How many new entries one key may write a minute, so that one client cannot fill a tenant's cache with bait.

Counts in this worker alone: the bound of a gateway is that of a worker times its workers. Knows no entry.
"""

from __future__ import annotations

from collections import Counter

from gateway.ports import Clock

WINDOW_S = 60.0


class WriteQuota:
    """`per_minute` writes a key in each minute of the clock."""

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._window = -1
        self._written: Counter[str] = Counter()

    def has_room(self, key_id: str) -> bool:
        """Say whether the key may write one more now; counts nothing."""
        is_new = int(self._clock.monotonic() // WINDOW_S) != self._window
        return self._per_minute > 0 if is_new else self._written[key_id] < self._per_minute

    def allows(self, key_id: str) -> bool:
        """Count one write, unless the key has had its share."""
        window = int(self._clock.monotonic() // WINDOW_S)
        if window != self._window:
            self._window = window
            self._written.clear()
        if self._written[key_id] >= self._per_minute:
            return False
        self._written[key_id] += 1
        return True
