"""How busy each process is with every deployment, told to the warmer through the Redis they share: a count, no texts.

Must not make a request wait or fail: telling is a task of its own, ten times a second while there is something to tell
and some policy has warming on. Ages are of Redis' clock, so that those of the hosts do not matter.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from gateway.ports import StoreUnavailable
from gateway.redis_replies import elements, optional
from gateway.supervisor import Supervisor
from gateway.waiting import Command
from policies.book import PolicySet
from router.traffic import Traffic
from router.types import Deployment

LOADS: Final = "foreword:{warmer}:loads"
TELL_S: Final = 0.1
FRESH_S: Final = 3
"""What was told longer ago is of a process that has nothing to tell any more, or has ended."""

_TELL: Final = """
redis.call('HSET', KEYS[1], ARGV[1], redis.call('TIME')[1] .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], 60)
return 1
"""
_HEAR: Final = """
local now, told, fresh = tonumber(redis.call('TIME')[1]), redis.call('HGETALL', KEYS[1]), {}
for at = 1, #told, 2 do
    local age = now - (tonumber(string.match(told[at + 1], '^%d+ ')) or 0)
    if age > tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], told[at])
    elseif told[at] ~= ARGV[2] then fresh[#fresh + 1] = told[at + 1] end
end
return fresh
"""


class Load(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Calls of one process to one deployment: in flight, waiting for a place, and how many may be in flight at once;
    `is_learnt`: the provider's 429s have lowered that."""

    deployment_id: str
    in_flight: int
    waiting: int
    limit: int
    is_learnt: bool


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[Load, ...])


class Loads:
    """Those of this process, `own`, and what the others have told; `policies` are those in force."""

    def __init__(
        self,
        store: Runner,
        traffic: Traffic,
        deployments: Sequence[Deployment],
        *,
        policies: Callable[[], PolicySet],
        key: str = LOADS,
    ) -> None:
        self._store = store
        self._places = traffic.places
        self._ids = tuple(one.id for one in deployments)
        self._policies = policies
        self._key = key
        self._name = secrets.token_hex(8)
        self._was_told = False

    def start(self, supervisor: Supervisor) -> None:
        """Begin to tell."""
        supervisor.every(TELL_S, self.tell, name="loads")

    def own(self) -> tuple[Load, ...]:
        """Return this process's, of deployments about which there is something to say."""
        places = self._places
        found = (
            Load(
                deployment_id=one,
                in_flight=places.in_flight(one),
                waiting=places.waiting(one),
                limit=places.limit(one),
                is_learnt=places.is_lowered(one),
            )
            for one in self._ids
        )
        return tuple(load for load in found if load.in_flight or load.waiting or load.is_learnt)

    async def tell(self) -> None:
        """Tell them; that there is nothing any more once. Without the store nobody hears of them."""
        if all(policy.warming is None for policy in self._policies().policies):
            return
        loads = self.own()
        if not loads and not self._was_told:
            return
        with suppress(StoreUnavailable):
            await self._store.run(("EVAL", _TELL, 1, self._key, self._name, _encoder.encode(loads)))
            self._was_told = bool(loads)

    async def heard(self) -> tuple[Load, ...]:
        """Return what the other processes have told lately. Raises StoreUnavailable."""
        (reply,) = await self._store.run(("EVAL", _HEAR, 1, self._key, FRESH_S, self._name))
        told = (optional(one) or b"" for one in elements(reply))
        return tuple(load for one in told for load in _read(one))


def _read(told: bytes) -> tuple[Load, ...]:
    try:
        return _decoder.decode(told.partition(b" ")[2])
    except msgspec.DecodeError:  # another version's
        return ()
