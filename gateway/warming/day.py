"""What each tenant's own requests cost in the last 24 hours, from the ledger, by the hour. Pure but for its sums.

Warms are left out: a share of what warming itself spends would grow by spending.
"""

from __future__ import annotations

import msgspec

from gateway.outcome import Outcome
from warmer.types import START, Position

HOUR_S = 3600.0
HOURS = 24
MOST_TENANTS = 10_000


class DaySpend(msgspec.Struct, kw_only=True):
    """`position` is the last entry counted, so that what is read again is not. Money in nano-dollars, hours since 1970.

    The hour that has begun counts, the one that has left the day in part does not: never more than 24 h.
    """

    position: Position = START
    spent: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)

    def watch(self, position: Position, outcome: Outcome) -> None:
        """Count an entry of the ledger, once."""
        if position <= self.position:
            return
        self.position = position
        if outcome.origin == "warmer" or not outcome.tenant or not outcome.cost_nanousd:
            return
        hours = self.spent.setdefault(outcome.tenant, {})
        hour = int(outcome.started_at // HOUR_S)
        hours[hour] = hours.get(hour, 0) + outcome.cost_nanousd
        if len(hours) > 2 * HOURS:
            self.spent[outcome.tenant] = {one: cost for one, cost in hours.items() if one > hour - HOURS}
        if len(self.spent) > MOST_TENANTS:
            del self.spent[next(iter(self.spent))]

    def of(self, tenant: str, now_s: float) -> int:
        """Return what the tenant's requests cost in the last 24 hours."""
        hour = int(now_s // HOUR_S)
        return sum(cost for one, cost in self.spent.get(tenant, {}).items() if hour - HOURS < one <= hour)


def dump(day: DaySpend) -> bytes:
    """Return the sums as bytes."""
    return msgspec.msgpack.encode(day)


def load(saved: bytes | None) -> DaySpend:
    """Return saved sums; damaged ones count as none, which only lets less be spent."""
    try:
        return DaySpend() if saved is None else msgspec.msgpack.decode(saved, type=DaySpend)
    except msgspec.DecodeError:
        return DaySpend()
