"""What warming may still cost: the smaller of the day's sum and a share of the last 24 h of spend. Must not ask
anybody.

The gate (ports.SpendGate) holds the day's sum for all replicas; the share is held here, by the warmer that leads, in
hours, and what was debited counts in full until it is settled.
"""

from __future__ import annotations

import msgspec

from warmer.types import Terms

_HOUR_S = 3600.0
_HOURS = 25
"""A whole day and the hour that has begun: never less than the last 24 h."""


class Spent(msgspec.Struct, kw_only=True):
    """What one tenant's warming cost, by the hour; debits not yet settled are in it at worst case."""

    by_hour: dict[int, int] = msgspec.field(default_factory=dict)

    def debit(self, bound_nanousd: int, now_s: float) -> int:
        """Count the most that a call may cost, and return the hour it counts for."""
        hour = int(now_s // _HOUR_S)
        self.by_hour[hour] = self.by_hour.get(hour, 0) + bound_nanousd
        for old in [one for one in self.by_hour if one <= hour - _HOURS]:
            del self.by_hour[old]
        return hour

    def settle(self, hour: int, *, bound_nanousd: int, cost_nanousd: int) -> None:
        """Count what it did cost instead; call it once a debit."""
        if hour in self.by_hour:
            self.by_hour[hour] += cost_nanousd - bound_nanousd

    def last_day(self, now_s: float) -> int:
        """Return the spend of the last 24 h and of the hour before them that has not wholly passed."""
        hour = int(now_s // _HOUR_S)
        return sum(spent for one, spent in self.by_hour.items() if one > hour - _HOURS)


def left(terms: Terms, spent: Spent, now_s: float) -> int:
    """Return what may be debited now in nano-dollars; never below zero."""
    share = int(terms.max_share_of_spend * terms.spent_nanousd_day) - spent.last_day(now_s)
    return max(0, min(terms.left_nanousd, share))
