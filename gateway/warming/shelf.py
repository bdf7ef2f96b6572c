"""Kept requests and stored answers, as the asker reads them: always from the shared store, never from a memory.

Every method raises StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cache.codec import StoredAnswer
from gateway.cache.codec import decode as decode_answer
from gateway.cache.exact import store_key
from gateway.cache.lease import is_claim, lease_name
from gateway.redis_replies import integer, optional
from gateway.retained.kept import Kept, decode, kept_key
from gateway.warming.leader import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the cache has under some keys: the answers, None for each it has not, and whether somebody is asking."""

    answers: tuple[StoredAnswer | None, ...]
    is_asked: bool

    def fresh_until_s(self) -> float:
        """Return until when all of them are good (Unix), 0 where one is missing."""
        if not self.answers:
            return 0.0
        return min(0.0 if one is None else one.created_at + one.ttl_s for one in self.answers)

    def newest_at_s(self) -> float:
        """Return when the newest of them was made (Unix), 0 where there is none."""
        return max((one.created_at for one in self.answers if one is not None), default=0.0)


class Shelf:
    """See the module."""

    def __init__(self, store: Runner) -> None:
        self._store = store

    async def kept(self, tenant: str, key: str) -> Kept | None:
        """Return the request that was kept under `key` for this tenant."""
        (reply,) = await self._store.run(("GET", kept_key(key, tenant=tenant)))
        kept = decode(optional(reply))
        return kept if kept is not None and kept.tenant == tenant else None

    async def standing(self, tenant: str, keys: Sequence[str]) -> Standing:
        """Return what the tenant's cache has under these keys."""
        if not keys:
            return Standing(answers=(), is_asked=False)
        gets = [("GET", store_key(key, tenant=tenant)) for key in keys]
        asked = [("EXISTS", lease_name(key, tenant=tenant)) for key in keys]
        replies = await self._store.run(*gets, *asked)
        found = [optional(one) for one in replies[: len(keys)]]
        is_asked = any(raw is not None and is_claim(raw) for raw in found) or any(map(integer, replies[len(keys) :]))
        return Standing(answers=tuple(None if raw is None else decode_answer(raw) for raw in found), is_asked=is_asked)

    async def drop_unused(self, tenant: str, key: str) -> bool:
        """Delete an answer that the warmer had made and that made room; return whether there was one."""
        (answer,) = (await self.standing(tenant, (key,))).answers
        if answer is None or not answer.warmed_by:
            return False
        (gone,) = await self._store.run(("UNLINK", store_key(key, tenant=tenant)))
        return integer(gone) == 1
