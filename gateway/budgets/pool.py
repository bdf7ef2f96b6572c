"""A worker's share of a set of meters: what it holds in Redis, what its open requests hold of that, what they spent.

Pure bookkeeping on integers; the ledger (gateway.budgets.books) speaks to Redis. Every unit held here is counted as
reserved there, so that the sum over all workers never passes a limit.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.budgets.meters import Meter

QUIET_FLUSHES = 4


class Reservation(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """What one request may spend of each meter of `pool`, until it is settled."""

    pool: Pool
    amounts: tuple[int, ...]
    lease: str
    is_offline: bool = False


@dataclass(slots=True, kw_only=True)
class Pool:
    """One lease over one set of meters. Amounts are by meter, in the meters' units.

    `amounts`: reserved in Redis for this lease; `room`: the part of it that no open request holds and none has spent;
    `spent`: settled here, not yet told to Redis; `free`: what nobody held when Redis last answered; `offline`: let
    through while Redis was away; `corrections`: what that really took beyond or below it. `callers` are in line for the
    lock. `is_unsure`: a reply was lost, so Redis must be asked before the next operation; `doubtful_seq` is that
    operation, `in_doubt` and `offline_in_doubt` what it was to book. `is_forgotten`: no flush will tell of this pool.
    """

    tag: str
    meters: tuple[Meter, ...]
    lease: str = field(default_factory=lambda: secrets.token_hex(12))
    seq: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    amounts: list[int] = field(default_factory=list)
    room: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    offline: list[int] = field(default_factory=list)
    corrections: list[int] = field(default_factory=list)
    demand: list[int] = field(default_factory=list)
    quiet_flushes: int = 0
    told_at: float = 0.0
    callers: int = 0
    is_forgotten: bool = False
    is_unsure: bool = False
    doubtful_seq: int = 0
    in_doubt: tuple[tuple[int, int, int], ...] = ()
    offline_in_doubt: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        zeros = [0] * len(self.meters)
        self.amounts, self.room, self.spent = zeros[:], zeros[:], zeros[:]
        self.free = [meter.limit for meter in self.meters]
        self.offline, self.corrections, self.demand = zeros[:], zeros[:], zeros[:]

    # `take`, `spend` and `settle` are run by every request: what most have, one or two meters, is written out, because
    # a loop costs a sixth more (tests/bench/spending.py).

    def take(self, needs: tuple[int, ...]) -> Reservation | None:
        """Reserve out of what is here already; None where that is too little. No I/O."""
        room, demand = self.room, self.demand
        if len(needs) == 2:  # a budget and a limit on tokens; with loops here a request takes 18,000 instructions more
            first, second = needs
            left, other = room[0] - first, room[1] - second
            if left < 0 or other < 0:
                return None
            room[0], room[1] = left, other
            demand[0] += first
            demand[1] += second
        else:
            for left, need in zip(room, needs, strict=True):
                if left < need:
                    return None
            for at, need in enumerate(needs):
                room[at] -= need
                demand[at] += need
        self.quiet_flushes = 0
        return Reservation(pool=self, amounts=needs, lease=self.lease)

    def spend(self, needs: tuple[int, ...]) -> bool:
        """Take and book at once out of what is here already; False where that is too little. No I/O."""
        room, demand, spent = self.room, self.demand, self.spent
        if len(needs) == 1:
            (need,) = needs
            left = room[0] - need
            if left < 0:
                return False
            room[0] = left
            demand[0] += need
            spent[0] += need
        else:
            for left, need in zip(room, needs, strict=True):
                if left < need:
                    return False
            for at, need in enumerate(needs):
                room[at] -= need
                demand[at] += need
                spent[at] += need
        self.quiet_flushes = 0
        return True

    def hold(self, needs: tuple[int, ...]) -> Reservation:
        """Reserve `needs`, which Redis has just granted."""
        for at, need in enumerate(needs):
            self.room[at] -= need
            self.demand[at] += need
        self.quiet_flushes = 0
        return Reservation(pool=self, amounts=needs, lease=self.lease)

    def keep(self, amounts: Sequence[int]) -> None:
        """Take note of what Redis says that the lease holds."""
        for at, amount in enumerate(amounts):
            self.room[at] += amount - self.amounts[at]
        self.amounts = list(amounts)

    def settle(self, reservation: Reservation, actual: Sequence[int]) -> None:
        """End a reservation with what it really took.

        A lease that expired meanwhile was charged in full, this reservation with it: nothing is counted again.
        """
        if reservation.is_offline:
            # All of it is booked as spent when Redis is back: only the difference is left. Not part of `spent`, which
            # would make room for others in a lease that never held it.
            for at, need in enumerate(reservation.amounts):
                self.corrections[at] += actual[at] - need
        elif reservation.lease == self.lease:
            room, spent, amounts = self.room, self.spent, reservation.amounts
            if len(amounts) == 2:
                first, second = actual
                spent[0] += first
                spent[1] += second
                room[0] += amounts[0] - first
                room[1] += amounts[1] - second
            else:
                for at, need in enumerate(amounts):
                    spent[at] += actual[at]
                    room[at] += need - actual[at]

    def wants(self, needs: Sequence[int]) -> tuple[int, ...]:
        """Return how much to ask Redis for: what is needed, and about as much as the last moments took."""
        return tuple(need + asked for need, asked in zip(needs, self.demand, strict=True))

    def released(self) -> tuple[int, ...]:
        """Return what to give back now: what was spent, and what is idle beyond the recent demand."""
        found = []
        for room, spent, asked in zip(self.room, self.spent, self.demand, strict=True):
            found.append(min(max(0, room + spent), spent + max(0, room - asked)))
        return tuple(found)

    def forget_demand(self) -> None:
        """Let the measure of recent demand fade: called at every flush. After a second of silence it is 0."""
        self.quiet_flushes += 1
        is_asked = self.quiet_flushes < QUIET_FLUSHES
        self.demand = [asked // 2 if is_asked else 0 for asked in self.demand]

    def let_go(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what to give back and what to book, and hold neither from here on.

        Now, not when Redis has answered: a request that comes meanwhile must not take what is being given back.
        """
        released, spent = self.released(), tuple(self.spent)
        booked = tuple(cost + correction for cost, correction in zip(spent, self.corrections, strict=True))
        for at, amount in enumerate(released):
            self.amounts[at] -= amount
            self.room[at] += spent[at] - amount
            self.spent[at] = 0
            self.corrections[at] = 0
        self.in_doubt = tuple(zip(released, spent, booked, strict=True))
        return released, booked

    def take_back(self) -> None:
        """Undo `let_go`: Redis never had it."""
        for at, (released, spent, booked) in enumerate(self.in_doubt):
            self.amounts[at] += released
            self.room[at] += released - spent
            self.spent[at] += spent
            self.corrections[at] += booked - spent
        self.in_doubt = ()

    def offline_booked(self) -> None:
        """Redis has reserved what was let through without it: from here on it is spent as any other."""
        for at, amount in enumerate(self.offline_in_doubt):
            self.offline[at] -= amount
            self.room[at] -= amount
            self.spent[at] += amount
        self.offline_in_doubt = ()

    def pass_offline(self, needs: Sequence[int]) -> Reservation:
        """Let a request through without a reservation, because Redis is away."""
        for at, need in enumerate(needs):
            self.offline[at] += need
        return Reservation(pool=self, amounts=tuple(needs), lease=self.lease, is_offline=True)

    def expired(self) -> None:
        """Begin a new lease: the old one was charged in full, whatever its requests still spend.

        What was let through without Redis was never part of it."""
        for at, (_, spent, booked) in enumerate(self.in_doubt):
            self.corrections[at] += booked - spent
        self.lease, self.seq, self.in_doubt, self.offline_in_doubt = secrets.token_hex(12), 0, (), ()
        zeros = [0] * len(self.meters)
        self.amounts, self.room, self.spent = zeros[:], zeros[:], zeros[:]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, spent, reserved, in doubt or asked for, so that the pool may be forgotten."""
        open_amounts = (self.amounts, self.room, self.spent, self.offline, self.corrections)
        return not (self.callers or self.is_unsure or self.lock.locked() or any(map(any, open_amounts)))

    def remaining(self) -> list[int]:
        """Return what is left of each meter as far as this worker knows."""
        found = []
        for at, free in enumerate(self.free):
            found.append(max(0, free + self.room[at] - self.offline[at]))
        return found
