"""Takes announced items in the order they are due, has each warmed once, and writes down what became of it.

Runs in the warmer's process, and only in the one that leads: two at once would spend twice. A crash loses nothing but
what was being asked then, and that is not asked again. Knows neither budgets nor models: `Warms` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from gateway.announced.records import Announcement, Item, ItemResult, ItemStatus, Kept, ended
from gateway.announced.shelf import Shelf
from gateway.ports import Clock, StoreUnavailable

IDLE_S: Final = 0.2
AT_ONCE: Final = 4
LOOK_AHEAD: Final = 16
"""Announcements in memory at once, each of up to a megabyte."""

Tell = Callable[[ItemResult], None]


class Warms(Protocol):
    """Has one announced item answered, within the tenant's warming budget."""

    async def warm(self, announcement: Announcement, item: Item) -> ItemStatus:
        """Return how it ended; every failure is a status. On cancel the call is given up."""
        ...

    async def find(self, announcement: Announcement, item: Item) -> ItemStatus:
        """Return `fresh` where its answer is in the cache, else `interrupted`: somebody began it and did not end it."""
        ...


@dataclass(slots=True, kw_only=True)
class _Held:
    """One announcement in hand. `asked` are items being warmed here, `told` statuses that Redis does not know yet."""

    kept: Kept
    asked: set[int] = field(default_factory=set)
    told: dict[int, ItemStatus] = field(default_factory=dict)

    def status(self, at: int) -> ItemStatus:
        return self.told.get(at, self.kept.statuses[at])

    @property
    def statuses(self) -> tuple[ItemStatus, ...]:
        return tuple(self.status(at) for at in range(len(self.kept.statuses)))

    def next_item(self) -> int | None:
        """Return the first item that nobody has begun here."""
        statuses = enumerate(self.statuses)
        return next((at for at, status in statuses if at not in self.asked and not status.has_ended), None)


async def serve_announcements(shelf: Shelf, warms: Warms, *, clock: Clock, tell: Tell, idle_s: float = IDLE_S) -> None:
    """Serve for ever; cancel to end it. `tell` hears of every item's end, once. Waits while Redis is away."""
    served = _Served(shelf, warms, clock=clock, tell=tell)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_work(served, clock, idle_s))
        await _look(served, clock, idle_s)


async def _look(served: _Served, clock: Clock, idle_s: float) -> None:
    log, is_away = structlog.get_logger(), False
    while True:
        try:
            await served.look()
            is_away = False
        except StoreUnavailable as error:
            if not is_away:
                log.warning("announced requests wait for redis", reason=str(error))
            is_away = True
        await clock.sleep(idle_s)


async def _work(served: _Served, clock: Clock, idle_s: float) -> None:
    while True:
        if not await served.one():
            await clock.sleep(idle_s)


class _Served:
    """What is in hand: the owner of which item is being asked."""

    def __init__(self, shelf: Shelf, warms: Warms, *, clock: Clock, tell: Tell) -> None:
        self._shelf = shelf
        self._warms = warms
        self._clock = clock
        self._tell = tell
        self._held: dict[tuple[str, str], _Held] = {}

    async def look(self) -> None:
        """Write what could not be written, and read who is first. Raises StoreUnavailable; nothing is lost."""
        for (tenant, name), held in tuple(self._held.items()):
            await self._save(tenant, name, held)
        first = await self._shelf.first(LOOK_AHEAD)
        order = {(tenant, name): wanted for tenant, name, wanted in first}
        for key in [key for key, held in self._held.items() if key not in order and not held.asked and not held.told]:
            del self._held[key]
        for tenant, name in order:
            if (tenant, name) not in self._held:
                await self._take(tenant, name)
        rank = {key: at for at, key in enumerate(order)}
        self._held = dict(sorted(self._held.items(), key=lambda pair: rank.get(pair[0], LOOK_AHEAD)))

    async def _take(self, tenant: str, name: str) -> None:
        kept = await self._shelf.find(tenant, name)
        if kept is None or kept.has_ended:
            await self._shelf.end(tenant, name, kept.statuses if kept else ())
        else:
            self._held[tenant, name] = _Held(kept=kept)

    async def one(self) -> bool:
        """Serve the item that is due first, if there is one."""
        found = next(((key, at) for key, held in self._held.items() if (at := held.next_item()) is not None), None)
        if found is None:
            return False
        key, at = found
        held = self._held[key]
        was_begun = held.status(at).state == "warming"
        held.asked.add(at)
        try:
            # Written before anybody is asked: who finds it after a crash must not ask again.
            await self._shelf.mark(*key, at, ItemStatus(state="warming"))
            status = await self._served(held.kept.announcement, at, was_begun=was_begun)
        except StoreUnavailable:
            return False
        finally:
            held.asked.discard(at)
        held.told[at] = status
        if status.result:
            self._tell(status.result)
        return True

    async def _served(self, announcement: Announcement, at: int, *, was_begun: bool) -> ItemStatus:
        item = announcement.items[at]
        if was_begun:
            return await self._warms.find(announcement, item)
        if announcement.ready_by is not None and self._clock.now() > announcement.ready_by:
            return ended("too_late", "its turn came after it was wanted")
        return await self._warms.warm(announcement, item)

    async def _save(self, tenant: str, name: str, held: _Held) -> None:
        for at, status in tuple(held.told.items()):
            if held.kept.statuses[at] != status:
                await self._shelf.mark(tenant, name, at, status)
            held.kept = _with(held.kept, at, status)
            del held.told[at]
        if held.kept.has_ended:
            await self._shelf.end(tenant, name, held.kept.statuses)
            del self._held[tenant, name]


def _with(kept: Kept, at: int, status: ItemStatus) -> Kept:
    statuses = (*kept.statuses[:at], status, *kept.statuses[at + 1 :])
    return Kept(announcement=kept.announcement, statuses=statuses, expires_at=kept.expires_at)
