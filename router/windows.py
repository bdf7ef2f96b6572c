"""Counts what happened in the last few seconds. Must not read a clock: times are passed in."""

from __future__ import annotations


class RecentCount:
    """How often something happened in the last `seconds`, in steps of one second; constant memory."""

    __slots__ = ("_counts", "_second", "total")

    def __init__(self, *, seconds: int = 10) -> None:
        self._counts = [0] * seconds
        self._second = 0
        self.total = 0

    def add(self, now_s: float, count: int = 1) -> None:
        """Count `count` more at `now_s`, which must not go back."""
        self.move(now_s)
        self._counts[self._second % len(self._counts)] += count
        self.total += count

    def move(self, now_s: float) -> int:
        """Forget what is too old at `now_s`; return what is left."""
        second = int(now_s)
        if second > self._second:
            for passed in range(self._second + 1, min(second, self._second + len(self._counts)) + 1):
                place = passed % len(self._counts)
                self.total -= self._counts[place]
                self._counts[place] = 0
            self._second = second
        return self.total

    def clear(self) -> None:
        """Forget everything."""
        self._counts = [0] * len(self._counts)
        self.total = 0
