"""The flow as the warmer goes through it: a call begins only where there is room, and not while somebody asks the same.

Must not choose what is asked. What somebody else has answered meanwhile is found where the flow looks first.
"""

from __future__ import annotations

from gateway.delivery import Reply
from gateway.errors import RequestFailed, http_failure
from gateway.flow import Flow
from gateway.parts import Parts
from gateway.ports import StoreUnavailable
from gateway.trail import Ask, Trail
from gateway.warming.room import LOOK_S, PATIENCE_S, NoRoom, Room
from gateway.warming.shelf import Shelf


class PatientFlow(Flow):
    """See the module. Whatever is not asked on the warmer's account goes through at once."""

    def __init__(self, parts: Parts, room: Room, shelf: Shelf) -> None:
        super().__init__(parts)
        self._room = room
        self._shelf = shelf
        self._clock = parts.clock

    async def run(self, ask: Ask) -> Reply:
        """Answer one request as Flow.run does, once it is its turn. Raises RequestFailed also where that never came, or
        where somebody has asked the same and the warm is not to look for their answer."""
        if ask.warming is None:
            return await super().run(ask)
        trail, began_at = self.trail(ask), self._clock.now()
        try:
            plan = self.plan(ask, trail)
        except RequestFailed:
            return await super().run(ask)  # which says so in an Outcome
        key, most = self.key(ask, trail), _most(trail)
        until_s = self._clock.monotonic() + PATIENCE_S
        while True:
            left_s = until_s - self._clock.monotonic()
            try:
                async with self._room.place(plan.candidates, most=most, at_most_s=left_s):
                    if not await self._is_asked(ask, key, since=began_at):
                        return await super().run(ask)
            except NoRoom:
                raise http_failure(429, "there is no room for a warm", code="no_room") from None
            if ask.cache_control.no_cache or left_s <= 0:
                raise http_failure(409, "somebody has asked the same meanwhile", code="asked_meanwhile")
            await self._clock.sleep(LOOK_S)

    async def _is_asked(self, ask: Ask, key: str, *, since: float) -> bool:
        """Return whether somebody asks the same now, or has an answer to it since then that this ask would not find."""
        if not key:
            return False
        try:
            standing = await self._shelf.standing(ask.caller.tenant, (key,))
        except StoreUnavailable:
            return True
        return standing.is_asked or (ask.cache_control.no_cache and standing.newest_at_s() > since)


def _most(trail: Trail) -> int | None:
    rules = None if trail.policy is None else trail.policy.warming
    return None if rules is None else rules.max_in_flight
