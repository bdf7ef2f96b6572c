"""Stands for Redis where the gateway has none: budgets and rollouts then work from what one process knows."""

from __future__ import annotations

from gateway.ports import StoreUnavailable
from gateway.waiting import Command


class NoRedis:
    """Runs nothing."""

    async def run(self, *commands: Command) -> list[object]:
        """Raise StoreUnavailable."""
        raise StoreUnavailable(f"there is no Redis to run {commands[0][0]!s} in")
