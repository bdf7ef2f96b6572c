"""What operators withdraw while the warmer runs: of a tenant that is erased it must keep nothing in memory either."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.cache.withdraw import MOST_NOTICES, START, STREAM, Notice, Selection
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore


class Erasures:
    """How far the withdrawals have been read; those of before this process began concern nothing that it knows."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._place: str | None = None

    async def heard(self) -> Sequence[str]:
        """Return the tenants that were erased since the last time; without Redis none, and they come later."""
        tenants = []
        try:
            while page := await self._store.read(STREAM, after=self._place or START, limit=MOST_NOTICES):
                is_news = self._place is not None
                self._place = page[-1][0]
                tenants += [tenant for _, data in page if is_news and (tenant := _erased(data)) is not None]
            self._place = self._place or START
        except StoreUnavailable:
            return tenants
        return tenants


def _erased(data: bytes) -> str | None:
    """Return the tenant that the notice erases, None where it withdraws something else."""
    try:
        selection = msgspec.json.decode(data, type=Notice).selection
    except msgspec.DecodeError:
        return None
    return selection.tenant if selection == Selection(tenant=selection.tenant) else None
