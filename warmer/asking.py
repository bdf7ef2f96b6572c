"""Asks what was chosen, at most so many at a time: debited before, settled after, each a value whatever happens.

Must not choose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from warmer.budget import left
from warmer.choosing import Priced
from warmer.learner import Learner
from warmer.ports import Asker, DebitT, SpendGate
from warmer.results import Result
from warmer.types import Warmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of one pick; `warmed` is None where nobody was asked."""

    priced: Priced
    result: Result
    warmed: Warmed | None = None


class Asking(Generic[DebitT]):
    """Asks through `asker` with money from `gate`."""

    def __init__(self, asker: Asker, gate: SpendGate[DebitT], *, concurrency: int) -> None:
        self._asker = asker
        self._gate = gate
        self._concurrency = concurrency

    async def ask_all(self, learner: Learner, picks: Sequence[Priced], now_s: float) -> list[Asked]:
        """Ask all of them; on cancel calls are given up, and what was debited for them stays charged in full."""
        room = asyncio.Semaphore(self._concurrency)

        async def one(pick: Priced) -> Asked:
            async with room:
                return await self._ask(learner, pick, now_s)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(pick)) for pick in picks]
        return [task.result() for task in tasks]

    async def _ask(self, learner: Learner, pick: Priced, now_s: float) -> Asked:
        terms = await self._gate.terms(learner.tenant)
        if terms is None:
            return Asked(priced=pick, result="off")
        bound, spent, prediction = pick.quote.bound_nanousd, learner.learnt.spent, pick.scored.prediction
        if bound > left(terms, spent, now_s):
            return Asked(priced=pick, result="no_budget")
        hour = spent.debit(bound, now_s)  # nothing may be awaited between the look and the debit
        debit = await self._gate.debit(learner.tenant, bound)
        if debit is None:
            spent.settle(hour, bound_nanousd=bound, cost_nanousd=0)
            return Asked(priced=pick, result="no_budget")
        warmed = await self._asker.warm(
            learner.tenant, prediction.recipe, level=pick.choice.level, predictor=prediction.predictor
        )
        cost = warmed.cost_nanousd if isinstance(warmed, Warmed) else 0
        self._gate.settle(debit, cost)
        spent.settle(hour, bound_nanousd=bound, cost_nanousd=cost)
        if not isinstance(warmed, Warmed):
            return Asked(priced=pick, result="not_asked" if warmed is None else "no_room")
        return Asked(priced=pick, result="warmed" if warmed.is_kept else "not_kept", warmed=warmed)
