"""The prompts that simulated models have read lately, in this process; one process's models know of no other's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from router.ports import Clock

KEEP_S: Final = 300.0
"""Since it was last read: what providers promise at least."""
MAX_BLOCKS: Final = 100_000
"""About 10 MB; the least recently read are forgotten first."""


class PrefixMemory:
    """Implements router.ports.Prefixes."""

    def __init__(self, clock: Clock, *, keep_s: float = KEEP_S, max_blocks: int = MAX_BLOCKS) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._max_blocks = max_blocks
        self._until_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def known(self, scope: str, blocks: Sequence[str]) -> int:
        """Return how many of the first blocks are remembered without a gap."""
        now_s = self._clock.monotonic()
        found = 0
        for block in blocks:
            if self._until_s.get((scope, block), 0.0) <= now_s:
                break
            found += 1
        return found

    async def remember(self, scope: str, blocks: Sequence[str]) -> None:
        """Keep them as read now."""
        until_s = self._clock.monotonic() + self._keep_s
        for block in blocks:
            self._until_s[scope, block] = until_s
            self._until_s.move_to_end((scope, block))
        while len(self._until_s) > self._max_blocks:
            self._until_s.popitem(last=False)
