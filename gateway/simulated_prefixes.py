"""The prompts that simulated models have read lately, for every process together: in Redis, as a provider would.

Must not make a simulated answer fail: without Redis nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from gateway.ports import Clock, StoreUnavailable
from gateway.waiting import Command
from router.simulation.prefix_memory import KEEP_S

MAX_BLOCKS: Final = 100_000
"""Of one model; those read longest ago are forgotten first."""


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


class SharedPrefixes:
    """Implements router.ports.Prefixes with one sorted set a model: block -> when it was read, in Unix seconds."""

    def __init__(self, store: Runner, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def known(self, scope: str, blocks: Sequence[str]) -> int:
        """Return how many of the first blocks were read lately, without a gap."""
        try:
            (scores,) = await self._store.run(("ZMSCORE", _key(scope), *blocks))
        except StoreUnavailable:
            return 0
        oldest = self._clock.now() - KEEP_S
        found = 0
        for score in scores if isinstance(scores, list) else ():
            if not isinstance(score, bytes | float) or float(score) < oldest:
                break
            found += 1
        return found

    async def remember(self, scope: str, blocks: Sequence[str]) -> None:
        """Keep them as read now; lost where Redis is away."""
        now, key = self._clock.now(), _key(scope)
        pairs = [part for block in blocks for part in (f"{now:.3f}", block)]
        with suppress(StoreUnavailable):
            await self._store.run(
                ("ZADD", key, *pairs),
                ("ZREMRANGEBYSCORE", key, "-inf", f"{now - KEEP_S:.3f}"),
                ("ZREMRANGEBYRANK", key, 0, -MAX_BLOCKS - 1),
                ("EXPIRE", key, int(KEEP_S)),
            )


def _key(scope: str) -> str:
    return f"foreword:simulated:read:{scope}"
