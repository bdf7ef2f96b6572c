"""Soft refresh: an answer that is told although it is getting old is asked for again, once, behind the caller's back.

Among all workers one asks; a refresh that fails is not repeated before its claim has ended. Must not delay the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.cache.exact import Hit
from gateway.cache.lease import Claims
from gateway.ports import StoreUnavailable
from gateway.semantic.again import Background, Run, answered, asked_again
from gateway.trail import Ask, Trail
from router.facts import DoorLimits

CLAIM_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    """One worker's."""

    claims: Claims
    background: Background
    limits: DoorLimits

    def told(self, ask: Ask, trail: Trail, hit: Hit, *, run: Run) -> None:
        """Ask again in the background where the route wants answers of this age renewed."""
        route_class = trail.route_class
        after_s = route_class.route.cache.refresh_after_s if route_class is not None else None
        if after_s is None or hit.age_s < after_s or trail.cache != "hit" or ask.origin == "refresh":
            return
        again = asked_again(trail, limits=self.limits, text=None, keep=True)
        if again is not None:
            self.background.begin(self._refresh(again, trail.key, run), name="soft-refresh")

    async def _refresh(self, ask: Ask, key: str, run: Run) -> None:
        name = f"foreword:refresh:{{{ask.caller.tenant}}}:{key}"
        try:
            is_ours = await self.claims.claim(name, b"1", ttl_s=CLAIM_S)
        except StoreUnavailable:
            return
        if is_ours:
            await answered(run, ask)
