"""Budgets and limits: reserve before a call, settle after it, over every meter that applies.

Never overspends: what a worker holds is reserved in Redis first, and what a crashed worker held is charged in full.
Money and tokens in integers. Without Redis, hard meters refuse and soft ones allow a local slice (policies.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.budgets import script
from gateway.budgets.meters import Meter
from gateway.budgets.pool import Pool, Reservation
from gateway.ports import Clock, StoreUnavailable
from gateway.waiting import Command

FLUSH_S: Final = 0.25
LEASE_S: Final = 60.0
"""How long a worker may be silent before what it holds is charged; it tells Redis every RENEW_S at least."""
RENEW_S: Final = 15.0
OFFLINE_SHARE: Final = 2
"""Without Redis a worker lets through one part in this many of what a soft meter had left when Redis last answered."""


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """A meter would pass its limit. `free` is what nobody holds of it, `most` the most that would have been granted:
    what this worker has at hand may be more."""

    meter: Meter
    free: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Redis is away and the meter is hard: nothing may be spent on it now."""

    meter: Meter


class Budgets:
    """Owner of this worker's pools. `reserve` and `settle` cost no round trip while a pool has what is needed."""

    def __init__(self, store: Runner, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pools: dict[tuple[str, ...], Pool] = {}

    async def reserve(
        self, tag: str, meters: tuple[Meter, ...], needs: Sequence[int]
    ) -> Reservation | Exceeded | Unavailable:
        """Reserve `needs[i]` units of `meters[i]`, all or none. At most two round trips within the store's bound.

        A cancelled caller holds nothing: what Redis may have granted stays with the pool and is given back.
        """
        pool, needs = self.pool(tag, meters), tuple(needs)
        found = pool.take(needs)
        if found is not None:
            return found
        pool.callers += 1  # a pool that somebody is in line for must not be forgotten
        try:
            async with pool.lock:
                try:
                    await self._make_sure(pool)
                    return pool.take(needs) or await self._grow(pool, needs)
                except StoreUnavailable:
                    return self._offline(pool, needs)
        finally:
            pool.callers -= 1

    async def spend(self, tag: str, meters: tuple[Meter, ...], needs: Sequence[int]) -> Exceeded | Unavailable | None:
        """Book `needs[i]` units of `meters[i]` at once, all or none; None where there was room. Waits as `reserve`."""
        if self.pool(tag, meters).spend(tuple(needs)):
            return None
        found = await self.reserve(tag, meters, needs)
        if not isinstance(found, Reservation):
            return found
        self.settle(found, needs)
        return None

    def settle(self, reservation: Reservation, actual: Sequence[int]) -> None:
        """Book what was really spent; the reservation ends. No I/O: the next flush tells Redis."""
        reservation.pool.settle(reservation, actual)

    def remaining(self, tag: str, meters: tuple[Meter, ...]) -> Sequence[int]:
        """Return what is left of each meter, as far as this worker knows."""
        return self.pool(tag, meters).remaining()

    def pool(self, tag: str, meters: tuple[Meter, ...]) -> Pool:
        """Return this worker's pool over `meters`, which the next flush tells of; ask again once it is forgotten."""
        names = tuple([meter.key for meter in meters])
        pool = self._pools.get(names)
        if pool is None:
            pool = self._pools[names] = Pool(tag=tag, meters=meters)
        elif pool.meters != meters:
            pool.meters = meters  # a new policy version may have changed a limit
        return pool

    async def flush(self) -> None:
        """Tell Redis what was spent, give back what is idle, keep leases alive, forget pools that are done."""
        for names, pool in tuple(self._pools.items()):
            if pool.is_idle and not any(pool.demand):
                if self._pools.get(names) is pool:  # not where another flush, at closing time, was faster
                    del self._pools[names]
                pool.is_forgotten = True
                continue
            if pool.lock.locked():
                continue
            async with pool.lock:
                try:
                    await self._tell(pool)
                except StoreUnavailable:
                    continue  # what was spent stays here until Redis is back; others may be on another server
            pool.forget_demand()

    async def close(self) -> None:
        """Give everything back that no open request holds."""
        for pool in self._pools.values():
            pool.demand = [0] * len(pool.meters)
        await self.flush()

    async def expire(self, tag: str, *, limit: int = 100) -> int:
        """Charge leases whose workers have fallen silent, delete meters of old windows; return the leases ended."""
        now_ms = int(self._clock.now() * 1000)
        leases, due, meters = script.keys(tag, ())
        overdue, old = await self._store.run(
            ("ZRANGEBYSCORE", due, "-inf", now_ms, "LIMIT", 0, limit),
            ("ZRANGEBYSCORE", meters, "-inf", now_ms, "LIMIT", 0, limit),
        )
        if isinstance(old, list) and old:
            await self._store.run(("UNLINK", *old), ("ZREM", meters, *old))
        if not isinstance(overdue, list) or not overdue:
            return 0
        (records,) = await self._store.run(("HMGET", leases, *overdue))
        ended = 0
        for lease, record in zip(overdue, records if isinstance(records, list) else (), strict=True):
            if isinstance(lease, bytes) and isinstance(record, bytes):
                keys = script.record_meters(record.decode())
                reply = await self._call(script.expire(tag, keys, lease=lease.decode(), now_ms=now_ms))
                ended += bool(script.charged(reply))
        return ended

    async def _grow(self, pool: Pool, needs: tuple[int, ...]) -> Reservation | Exceeded:
        if any(pool.offline):
            await self._book_offline(pool)
        found = await self._enlarge(pool, needs, wants=pool.wants(needs))
        if isinstance(found, script.Full):
            pool.free[found.at] = found.free
            return _exceeded(pool, found.at, found.free)
        self._keep(pool, found)
        return pool.hold(needs)

    async def _enlarge(
        self, pool: Pool, needs: Sequence[int], *, wants: Sequence[int], force: bool = False
    ) -> script.Share | script.Full:
        """Take more into the lease, or into a new one where it was charged meanwhile: its amounts are gone then."""
        for _ in range(2):
            seq = pool.seq = pool.seq + 1
            pool.offline_in_doubt = tuple(needs) if force else ()
            command = script.grow(
                pool.tag,
                pool.meters,
                lease=pool.lease,
                seq=seq,
                due_ms=self._due_ms(),
                needs=needs,
                wants=wants,
                force=force,
                is_begun=any(pool.amounts),
            )
            found = await self._operate(pool, command)
            if found is not None:
                return found
            pool.expired()
        raise StoreUnavailable("redis says of a new lease that it was charged")

    def _offline(self, pool: Pool, needs: Sequence[int]) -> Reservation | Unavailable | Exceeded:
        """Redis is away: refuse hard meters, let a slice of the soft ones through."""
        for at, meter in enumerate(pool.meters):
            if meter.is_hard:
                return Unavailable(meter=meter)
            slice_left = -(-pool.free[at] // OFFLINE_SHARE) - pool.offline[at]
            if needs[at] > slice_left:
                return _exceeded(pool, at, max(0, slice_left))
        return pool.pass_offline(needs)

    async def _tell(self, pool: Pool) -> None:
        await self._make_sure(pool)
        if any(pool.offline):
            await self._book_offline(pool)
        is_stale = any(pool.amounts) and self._clock.monotonic() - pool.told_at > RENEW_S
        if not (any(pool.released()) or any(pool.spent) or any(pool.corrections) or is_stale):
            return
        if not any(pool.amounts):
            none = (0,) * len(pool.meters)  # a lease that was drawn to nothing is gone
            self._keep(pool, await self._enlarge(pool, none, wants=none, force=True))
        seq = pool.seq = pool.seq + 1
        released, spent = pool.let_go()
        command = script.draw(
            pool.tag, pool.meters, lease=pool.lease, seq=seq, due_ms=self._due_ms(), released=released, spent=spent
        )
        self._keep(pool, await self._operate(pool, command))
        pool.in_doubt = ()

    async def _book_offline(self, pool: Pool) -> None:
        """Tell Redis what was let through while it was away, whatever is left of the limits."""
        owed = tuple(pool.offline)
        found = await self._enlarge(pool, owed, wants=owed, force=True)
        pool.offline_booked()
        self._keep(pool, found)

    def _keep(self, pool: Pool, found: script.Share | script.Full | None) -> None:
        """Take over what Redis says of the lease; where it has none, all of it was charged."""
        if isinstance(found, script.Share):
            pool.keep(found.amounts)
            pool.free = list(found.free)
        else:
            pool.expired()
        pool.told_at = self._clock.monotonic()

    async def _make_sure(self, pool: Pool) -> None:
        """After a lost reply: ask Redis whether the operation was applied, before anything else is done.

        The question has a number of its own, and Redis refuses what comes late and has a lower one.
        """
        if not pool.is_unsure:
            return
        seq = pool.seq = pool.seq + 1
        command = script.look(pool.tag, pool.meters, lease=pool.lease, seq=seq, due_ms=self._due_ms())
        known = script.held(await self._call(command))
        if known is None:
            if not any(pool.amounts):
                pool.in_doubt = ()  # drawn to nothing: that is what ended the lease
            pool.expired()
        else:
            if known.seq == pool.doubtful_seq:
                pool.offline_booked()
                pool.in_doubt = ()
            pool.take_back()
            pool.keep(known.amounts)
        pool.offline_in_doubt, pool.is_unsure = (), False

    async def _operate(self, pool: Pool, command: Command) -> script.Share | script.Full | None:
        """Run one operation; where its reply is lost, or its caller leaves, the next one asks what became of it."""
        pool.is_unsure, pool.doubtful_seq = True, pool.seq
        found = script.share(await self._call(command))
        pool.is_unsure = False
        return found

    async def _call(self, command: Command) -> object:
        try:
            return (await self._store.run(command))[0]
        except StoreUnavailable as error:
            # This server has not had the script yet, or has forgotten it; anything else is its being away.
            if "NOSCRIPT" not in str(error):
                raise
        return (await self._store.run(script.whole_text(command)))[0]

    def _due_ms(self) -> int:
        return int((self._clock.now() + LEASE_S) * 1000)


def _exceeded(pool: Pool, at: int, free: int) -> Exceeded:
    return Exceeded(meter=pool.meters[at], free=free, most=max(free, pool.room[at]))
