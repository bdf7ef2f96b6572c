"""Keeps announced requests beside those that were asked, where the warmer looks for both. Holds nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.redis_replies import optional
from gateway.retained.keeper import Keeper
from gateway.retained.kept import decode, kept_key
from gateway.takeup.preparing import Prepared
from gateway.waiting import Command


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Implements serving.Keeps."""

    store: Runner
    keeper: Keeper

    async def keep(self, prepared: Prepared, *, ttl_s: float) -> None:
        """Keep it for `ttl_s`; what is known of it from its being asked is worth more than any estimate."""
        tenant = prepared.kept.tenant
        (reply,) = await self.store.run(("GET", kept_key(prepared.key, tenant=tenant)))
        known = decode(optional(reply))
        self.keeper.write(prepared.key, known or prepared.kept, ttl_s=ttl_s)
