"""The index that every worker keeps for itself: matrices filled from Redis when first asked, kept true by the feed.

Must not hold the event loop: searches and clusterings that take long run in a thread. Never logs.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.cache.semantic.index.feed import Feed, Missed, Notice
from gateway.cache.semantic.index.quota import Name, Quota
from gateway.cache.semantic.index.records import PAGE, Records, by_scope
from gateway.cache.semantic.index.table import Table
from gateway.cache.semantic.index.together import Together
from gateway.cache.semantic.types import Entry, Neighbour, Vector
from gateway.ports import Clock, StoreUnavailable
from gateway.supervisor import Supervisor, SupervisorClosed

POLL_S: Final = 0.3
SWEEP_S: Final = 30.0
FILL_WAIT_S: Final = 0.02
"""A question waits so long for a scope to be read from Redis; a small one is there by then. Half a scope has no answer:
its nearest entry would pass for the nearest of all."""
ALONE_LIMIT_S: Final = 60.0
"""A worker that has not heard of the others for longer answers nothing: what it holds may have been withdrawn."""
MOST_SCOPES: Final = 20_000
OVERLAP: Final = 4
"""Ids asked for twice from page to page, because entries that end meanwhile move the rest forward."""


def tenant_of(tenant: str, _scope: str) -> str:
    """Return the class whose quota an entry counts against, where nobody knows better."""
    return tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the index may take: bytes in all, the share of them that one class may have, and a question's wait."""

    max_bytes: int
    class_share: float = 0.5
    fill_wait_s: float = FILL_WAIT_S


@dataclass(slots=True, kw_only=True)
class _Scope:
    table: Table
    together: Together
    filling: asyncio.Task[bool] | None = None
    sorting: asyncio.Task[None] | None = None


class LocalIndex:
    """An Index (gateway.cache.semantic.types). `start` begins the work that keeps it true."""

    def __init__(
        self,
        records: Records,
        feed: Feed,
        *,
        dim: int,
        bounds: Bounds,
        supervisor: Supervisor,
        clock: Clock,
        rng: random.Random,
        class_of: Callable[[str, str], str] = tenant_of,
    ) -> None:
        self._records = records
        self._feed = feed
        self._dim = dim
        self._supervisor = supervisor
        self._clock = clock
        self._class_of = class_of
        self._fill_wait_s = bounds.fill_wait_s
        self._quota = Quota(max_bytes=bounds.max_bytes, class_share=bounds.class_share, rng=rng)
        self._scopes: OrderedDict[tuple[str, str], _Scope] = OrderedDict()
        self._heard_s = clock.monotonic()

    @property
    def size_bytes(self) -> int:
        """Return what the entries in memory take; matrices being filled or sorted take up to half as much again."""
        return self._quota.size_bytes

    @property
    def entries(self) -> int:
        """Return how many entries are in memory."""
        return sum(len(scope.table) for scope in self._scopes.values())

    def start(self) -> None:
        """Listen to the feed and sweep what has ended, until the supervisor closes."""
        self._supervisor.every(POLL_S, self.catch_up, name="semantic index feed")
        self._supervisor.every(SWEEP_S, self.sweep, name="semantic index sweep")

    async def nearest(self, tenant: str, scope: str, vector: Vector, *, k: int) -> Sequence[Neighbour]:
        """Return up to `k` living entries of exactly this tenant and scope, highest cosine first.

        None while a large scope is still being read. Raises StoreUnavailable where it cannot be read, or the worker
        has been alone for too long."""
        if self._clock.monotonic() - self._heard_s > ALONE_LIMIT_S:
            raise StoreUnavailable(f"the index has not heard of other workers for {ALONE_LIMIT_S:g} s")
        found = self._scopes.get((tenant, scope)) or await self._open(tenant, scope)
        self._scopes.move_to_end((tenant, scope))
        if found.filling is not None and not await self._is_filled(found.filling):
            return ()
        return await found.together.nearest(vector, k=k)

    async def add(self, *entries: Entry) -> None:
        """Add or replace by entry_id; other workers learn of it within a second. Raises StoreUnavailable."""
        now = self._clock.now()
        scopes = by_scope(entries, now=now)
        telling = [self._feed.telling("add", *name, [one.entry_id for one in some]) for name, some in scopes.items()]
        over = await self._records.put(entries, now=now, extra=telling)
        for entry in entries:
            self._take(entry)
        for name, entry_ids in over.items():
            self._forget(*name, entry_ids)

    async def remove(self, tenant: str, scope: str, entry_ids: Sequence[str]) -> None:
        """Remove entries; unknown ids are ignored. Raises StoreUnavailable, after which they are gone here at least."""
        self._forget(tenant, scope, entry_ids)
        telling = self._feed.telling("remove", tenant, scope, entry_ids)
        await self._records.remove(tenant, scope, entry_ids, extra=(telling,))
        self._forget(tenant, scope, entry_ids)  # one that was being read from Redis just now has come since

    async def drop(self, tenant: str, scope: str) -> None:
        """Remove a whole scope. Raises StoreUnavailable, after which it is gone here at least."""
        self._close((tenant, scope))
        await self._records.drop(tenant, scope, extra=(self._feed.telling("drop", tenant, scope),))
        self._close((tenant, scope))

    async def catch_up(self) -> None:
        """Take in what other workers told since the last time; without Redis, later."""
        try:
            while notices := await self._feed.read():
                if isinstance(notices, Missed):
                    for name in list(self._scopes):
                        self._close(name)
                    break
                for notice in notices:
                    await self._hear(notice)
            self._heard_s = self._clock.monotonic()
        except StoreUnavailable:
            return

    async def sweep(self) -> None:
        """Let go of what has ended, a scope at a time."""
        now = self._clock.now()
        for tenant, scope in list(self._scopes):
            found = self._scopes.get((tenant, scope))
            if found is not None:
                self._forget(tenant, scope, found.table.ended(now=now))
            await asyncio.sleep(0)

    async def _hear(self, notice: Notice) -> None:
        name = (notice.tenant, notice.scope)
        match notice.change:
            case "drop":
                self._close(name)
            case "remove":
                self._forget(*name, notice.entry_ids)
            case "add":
                wanted = notice.entry_ids if name in self._scopes else ()
                for entry in await self._records.get(*name, wanted):
                    if entry is not None:
                        self._take(entry)

    async def _open(self, tenant: str, scope: str) -> _Scope:
        await self._feed.begin()
        table = Table(tenant, scope, self._dim)
        opened = _Scope(table=table, together=Together(table, self._clock))
        try:
            opened.filling = self._supervisor.spawn(self._fill(opened), name="semantic index fill")
        except SupervisorClosed as error:
            raise StoreUnavailable("the gateway is closing") from error
        self._scopes[(tenant, scope)] = opened
        while len(self._scopes) > MOST_SCOPES:
            self._close(next(iter(self._scopes)))
        return opened

    async def _is_filled(self, filling: asyncio.Task[bool]) -> bool:
        await asyncio.wait({filling}, timeout=self._fill_wait_s)
        if filling.done() and (filling.cancelled() or not filling.result()):
            raise StoreUnavailable("the scope could not be read")
        return filling.done()

    async def _fill(self, scope: _Scope) -> bool:
        """Read a scope page by page, the entries that live longest first; return whether that went well."""
        tenant, name, offset = scope.table.tenant, scope.table.scope, 0
        try:
            while ids := await self._records.ids(tenant, name, now=self._clock.now(), offset=offset):
                for entry in await self._records.get(tenant, name, ids):
                    if entry is not None:
                        self._take(entry)
                if len(ids) < PAGE:
                    break
                offset += PAGE - OVERLAP
        except StoreUnavailable:
            self._close((tenant, name))  # half a scope would pass for a whole one; the next question tries again
            return False
        finally:
            scope.filling = None
        self._sort_if_due(scope)
        return True

    def _take(self, entry: Entry) -> None:
        """Hold an entry of an open scope, and let others go where that is too much."""
        name = (entry.tenant, entry.scope, entry.entry_id)
        scope = self._scopes.get(name[:2])
        if scope is None or entry.expires_at <= self._clock.now():
            return
        held = scope.table.add(entry)
        if held is None:
            return
        kind = self._class_of(entry.tenant, entry.scope)
        self._quota.add(name, kind=kind, value=held.value, created_at=held.created_at, size_bytes=held.size_bytes)
        while over := self._quota.too_many():
            for _, (tenant, of_scope, entry_id) in over:
                self._forget(tenant, of_scope, (entry_id,))
        self._sort_if_due(scope)

    def _forget(self, tenant: str, scope: str, entry_ids: Sequence[str]) -> None:
        found = self._scopes.get((tenant, scope))
        if found is None:
            return
        kind = self._class_of(tenant, scope)
        for entry_id in entry_ids:
            found.table.remove(entry_id)
            self._quota.remove((tenant, scope, entry_id), kind=kind)

    def _close(self, name: tuple[str, str]) -> None:
        """Forget a scope as a whole; the next question reads it anew."""
        scope = self._scopes.pop(name, None)
        if scope is None:
            return
        if scope.filling is not None and scope.filling is not asyncio.current_task():
            scope.filling.cancel()
        if scope.sorting is not None:
            scope.sorting.cancel()
        kind = self._class_of(*name)
        for held in scope.table:
            entry: Name = (*name, held.entry_id)
            self._quota.remove(entry, kind=kind)

    def _sort_if_due(self, scope: _Scope) -> None:
        if scope.sorting is None and scope.table.wants_sorting(is_filling=scope.filling is not None):
            scope.sorting = self._supervisor.spawn(self._sort(scope), name="semantic index sort")

    async def _sort(self, scope: _Scope) -> None:
        try:
            work, take = scope.table.sort(now=self._clock.now())
            take(await asyncio.to_thread(work))
        finally:
            scope.sorting = None
