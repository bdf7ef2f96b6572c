"""The lifetime tasks of budgets and rollouts: tell Redis, charge dead leases, follow the states. Decides nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.budgets.books import FLUSH_S, Budgets
from gateway.budgets.meters import tag
from gateway.ports import StoreUnavailable
from gateway.rollout.rollouts import POLL_S, Rollouts
from gateway.supervisor import Supervisor
from policies.book import PolicyBook, PolicySet

EXPIRE_S: Final = 5.0
CLOSE_S: Final = 1.0
"""Leases that could not be given back are charged when they expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendTasks:
    """See the module; `book` says which policies have budgets."""

    budgets: Budgets
    rollouts: Rollouts
    book: PolicyBook

    async def start(self, supervisor: Supervisor) -> None:
        """Learn where rollouts stand before the first request, then keep everything going."""
        await self.loaded(self.book.current(), is_change=False)
        supervisor.every(FLUSH_S, self.budgets.flush, name="budget-flush")
        supervisor.every(EXPIRE_S, self._expire, name="budget-expiry")
        supervisor.every(POLL_S, self._poll, name="rollouts")

    async def loaded(self, policies: PolicySet, *, is_change: bool) -> None:
        """Take note of policies that are in force now."""
        await self.rollouts.loaded(
            [(policy, policies.texts.get(policy.name, "")) for policy in policies.policies], is_change=is_change
        )

    async def close(self) -> None:
        """Give back what no request holds, tell what was counted; a store that hangs is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.budgets.close()
                await self._poll()

    async def _expire(self) -> None:
        for policy in self.book.current().policies:
            if policy.budgets or policy.rates or policy.shadow or policy.judge or policy.warming:
                with suppress(StoreUnavailable):
                    await self.budgets.expire(tag(policy.name))

    async def _poll(self) -> None:
        with suppress(StoreUnavailable):
            await self.rollouts.poll()
