"""Which of all warmers leads: a lease in Redis, renewed by its holder, that fences everything the leader writes.

Whoever has lost it, or cannot know, does not lead: the lease ends here before it ends in Redis. Decides nothing else.
"""

from __future__ import annotations

from typing import Final, Protocol

from gateway.ports import Clock, StoreUnavailable
from gateway.redis_replies import integer
from gateway.waiting import Command

LEADER: Final = "foreword:{warmer}:leader"
"""In one slot with the notes (gateway.retained.kept), so that a script sees both."""
LEASE_S: Final = 5.0
RENEW_S: Final = 1.0
_SAFETY: Final = 0.8
"""Part of the lease's time after which it counts as lost here: clocks differ, and replies are late."""

_HOLD: Final = """
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end
if owner then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 2
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_SAVE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
"""


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


class NotLeader(Exception):
    """Somebody else leads by now, or nobody does: nothing was written."""


class Leadership:
    """One warmer's claim. `token` is its own among all; `reign` counts how often it has come to lead."""

    def __init__(
        self, store: Runner, clock: Clock, *, token: bytes, key: str = LEADER, lease_s: float = LEASE_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._token = token
        self._key = key
        self._lease_s = lease_s
        self._until_s = float("-inf")
        self._is_released = False
        self.reign = 0

    @property
    def is_held(self) -> bool:
        """Whether this one leads, for certain."""
        return self._clock.monotonic() < self._until_s

    async def renew(self) -> bool:
        """Take the lease where nobody has it, or keep it; return whether it is ours. Without Redis it runs out."""
        if self._is_released:
            return False
        asked_at_s = self._clock.monotonic()
        lease_ms = round(self._lease_s * 1000)
        try:
            (reply,) = await self._store.run(("EVAL", _HOLD, 1, self._key, self._token, lease_ms))
        except StoreUnavailable:
            return self.is_held
        found = integer(reply)
        if found == 0 or self._is_released:
            self._until_s = float("-inf")
            return False
        if found == 2:
            self.reign += 1
        self._until_s = asked_at_s + self._lease_s * _SAFETY
        return self.is_held

    async def release(self) -> None:
        """Let another lead at once, and never lead again; where that cannot be said, it does when the lease ends."""
        self._is_released = True
        self._until_s = float("-inf")
        try:
            await self._store.run(("EVAL", _RELEASE, 1, self._key, self._token))
        except StoreUnavailable:
            return

    async def write(self, key: str, field: str, value: bytes) -> None:
        """Set one field of a hash in the lease's slot, if the lease is ours at that moment, atomically.

        Raises NotLeader, StoreUnavailable."""
        (reply,) = await self._store.run(("EVAL", _SAVE, 2, self._key, key, self._token, field, value))
        if integer(reply) != 1:
            self._until_s = float("-inf")
            raise NotLeader
