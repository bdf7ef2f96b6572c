"""When in the week a tenant's requests come: a factor for each hour, 1.0 on average. Must not read a clock.

Hours are of UTC; a week begins on Monday. An hour that was seldom seen takes after the same hour of other days, and
that after the average.
"""

from __future__ import annotations

import msgspec

HOUR_S = 3600.0
WEEK_H = 168
_EPOCH_H = 72  # 1970-01-01 was a Thursday
_HALF_LIFE_H = 3 * WEEK_H
_DAY_PRIOR_H = 3.0
_WEEK_PRIOR_H = 3.0
_MOST_FACTOR = 20.0
_DECAY_PER_H = 0.5 ** (1 / _HALF_LIFE_H)


def hour_of_week(at_s: float) -> int:
    """Return the hour of the week, 0 for Monday 00:00 UTC."""
    return (int(at_s // HOUR_S) + _EPOCH_H) % WEEK_H


class Profile(msgspec.Struct, kw_only=True):
    """Requests and hours watched, by hour of the week, both decaying; `from_s` and `to_s` bound what was watched."""

    counts: list[float] = msgspec.field(default_factory=lambda: [0.0] * WEEK_H)
    watched_h: list[float] = msgspec.field(default_factory=lambda: [0.0] * WEEK_H)
    from_s: float = 0.0
    to_s: float = 0.0
    factors: list[float] = msgspec.field(default_factory=lambda: [1.0] * WEEK_H)

    def add(self, at_s: float) -> None:
        """Count a request."""
        self.advance(at_s)
        self.counts[hour_of_week(at_s)] += 1.0

    def advance(self, now_s: float) -> None:
        """Count the time until `now_s` as watched; factors are made anew when an hour is over."""
        if not self.to_s:
            self.from_s = self.to_s = now_s
        if now_s <= self.to_s:
            return
        if now_s - self.to_s > 4 * WEEK_H * HOUR_S:  # too long ago to say anything
            self.to_s = now_s
        was = self.to_s // HOUR_S
        for start_s, end_s in pieces(self.to_s, now_s):
            self.watched_h[hour_of_week(start_s)] += (end_s - start_s) / HOUR_S
        self.to_s = now_s
        hours = int(now_s // HOUR_S - was)
        if hours:
            self._renew(_DECAY_PER_H**hours)

    def _renew(self, decay: float) -> None:
        self.counts = [count * decay for count in self.counts]
        self.watched_h = [hours * decay for hours in self.watched_h]
        total, watched = sum(self.counts), sum(self.watched_h)
        if not total or not watched:
            return
        mean = total / watched
        of_day = [
            (sum(self.counts[hour::24]) + mean * _DAY_PRIOR_H) / (sum(self.watched_h[hour::24]) + _DAY_PRIOR_H)
            for hour in range(24)
        ]
        self.factors = [
            min(
                _MOST_FACTOR,
                (self.counts[hour] + of_day[hour % 24] * _WEEK_PRIOR_H) / (self.watched_h[hour] + _WEEK_PRIOR_H) / mean,
            )
            for hour in range(WEEK_H)
        ]

    def effective_s(self, start_s: float, end_s: float) -> float:
        """Return how many average seconds the time from `start_s` to `end_s` is worth."""
        return sum((end - start) * self.factors[hour_of_week(start)] for start, end in pieces(start_s, end_s))


def pieces(start_s: float, end_s: float) -> list[tuple[float, float]]:
    """Cut a time at the full hours; beyond four weeks the rest is one piece."""
    found: list[tuple[float, float]] = []
    while start_s < end_s:
        stop_s = min(end_s, (start_s // HOUR_S + 1) * HOUR_S) if len(found) < 4 * WEEK_H else end_s
        found.append((start_s, stop_s))
        start_s = stop_s
    return found
