"""Questions to one scope that come in one turn of the loop, searched together: a product of matrices takes a fifth.

Belongs to one event loop; what takes long runs in a thread. Knows no store, no scope and no budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.cache.semantic.index.matrix import Found
from gateway.cache.semantic.index.table import Table
from gateway.cache.semantic.types import Neighbour, Vector
from gateway.ports import Clock

AT_ONCE: Final = 16
"""Questions searched between two turns of the loop: half a millisecond at Table.is_large's bound."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    vector: Vector
    k: int
    found: asyncio.Future[Sequence[Neighbour]]


class Together:
    """The searches of one table."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._waiting: deque[_Asked] = deque()

    def nearest(self, vector: Vector, *, k: int) -> asyncio.Future[Sequence[Neighbour]]:
        """Return up to `k` living entries soon, highest cosine first; who cancels it is not searched for."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[Neighbour]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._search)
        self._waiting.append(_Asked(vector=vector, k=k, found=found))
        return found

    def _search(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        loop = asyncio.get_running_loop()
        if self._waiting:
            loop.call_soon(self._search)
        asked = [one for one in taken if not one.found.done()]
        if not asked:
            return
        vectors, k = [one.vector for one in asked], max(one.k for one in asked)
        work = self._table.search(vectors, now=self._clock.now(), k=k)
        if not self._table.is_large:
            try:
                found = work()
            except Exception as error:  # noqa: BLE001 - raised where they wait, as a thread's is
                self._fail(asked, error)
            else:
                self._answer(asked, found)
            return
        searching = loop.run_in_executor(None, work)
        searching.add_done_callback(lambda done: self._end(asked, done))

    def _end(self, asked: Sequence[_Asked], done: asyncio.Future[list[Found | None]]) -> None:
        if done.cancelled():  # the loop is closing
            for one in asked:
                one.found.cancel()
            return
        error = done.exception()
        if error is None:
            self._answer(asked, done.result())
        else:
            self._fail(asked, error)

    def _fail(self, asked: Sequence[_Asked], error: BaseException) -> None:
        for one in asked:
            if not one.found.done():
                one.found.set_exception(error)

    def _answer(self, asked: Sequence[_Asked], found: Sequence[Found | None]) -> None:
        now = self._clock.now()
        for one, nearest in zip(asked, found, strict=True):
            if not one.found.done():
                one.found.set_result(self._table.neighbours(nearest, now=now)[: one.k])
