"""Races a late first token with one more call, within a budget. Must not choose models, read an answer or yield."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from policies.model import Plan
from router.cost import cost_nanousd
from router.deadlines import Limits
from router.itinerary import Itinerary, Turn
from router.leg import Leg
from router.steps import next_step
from router.traffic import Traffic
from router.types import AttemptRecord, Call, ChatRequest, Deployment, Priority
from router.usage import estimated_usage
from router.windows import RecentCount


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a race: whom it asks, what it sends, and what came of it."""

    turn: Turn
    leg: Leg
    call: Call


class _Window:
    """What one route did lately."""

    __slots__ = ("hedged", "requests", "spent", "wasted")

    def __init__(self, seconds: int) -> None:
        self.requests = RecentCount(seconds=seconds)
        self.hedged = RecentCount(seconds=seconds)
        self.spent = RecentCount(seconds=seconds)
        self.wasted = RecentCount(seconds=seconds)


class HedgeBudget:
    """Keeps hedges to a share of each route's requests and of what it spends (nano-dollars). One per process."""

    def __init__(self, *, seconds: int) -> None:
        self._seconds = seconds
        self._by_route: dict[tuple[str, str], _Window] = {}

    def request(self, plan: Plan, now_s: float) -> None:
        """Count a request that might be hedged."""
        self._window(plan).requests.add(now_s)

    def spent(self, plan: Plan, nanousd: int, now_s: float) -> None:
        """Count what an answer cost; not what a hedge wasted."""
        self._window(plan).spent.add(now_s, nanousd)

    def allows(self, plan: Plan, nanousd: int, now_s: float) -> bool:
        """Say whether one more hedge, which may waste `nanousd`, is within the plan's share."""
        if plan.hedge is None:
            return False
        window, ratio = self._window(plan), plan.hedge.budget_ratio
        if window.hedged.move(now_s) + 1 > ratio * window.requests.move(now_s):
            return False
        return window.wasted.move(now_s) + nanousd <= ratio * window.spent.move(now_s)

    def take(self, plan: Plan, nanousd: int, now_s: float) -> None:
        """Book a hedge that was `allowed`."""
        window = self._window(plan)
        window.hedged.add(now_s)
        window.wasted.add(now_s, nanousd)

    def _window(self, plan: Plan) -> _Window:
        key = (plan.policy, plan.route)
        found = self._by_route.get(key)
        if found is None:
            found = self._by_route[key] = _Window(self._seconds)
        return found


class Hedging:
    """Decides whether and when a call is hedged, and by whom."""

    def __init__(self, traffic: Traffic, limits: Limits) -> None:
        self.budget = HedgeBudget(seconds=limits.hedge_window_s)
        self._traffic = traffic

    def begin(self, plan: Plan, priority: Priority, now_s: float) -> int:
        """Count a request; return how often it may be hedged."""
        if plan.hedge is None or priority != "interactive":
            return 0
        self.budget.request(plan, now_s)
        return plan.hedge.max

    def ended(self, plan: Plan, record: AttemptRecord, now_s: float) -> None:
        """Note what an attempt that no other has outrun has cost."""
        if plan.hedge is not None and record.cost_nanousd:
            self.budget.spent(plan, record.cost_nanousd, now_s)

    def outrun(self, first: Entrant, now_s: float) -> None:
        """Note that `first` lost: it took at least so long. Without what was cut off, the quantile would sink."""
        waited_s = now_s - first.leg.started_s
        self._traffic.deadlines.took(first.call.request, first.turn.deployment, "first_token", waited_s, now_s)

    def after_s(self, plan: Plan, call: Call, now_s: float) -> float | None:
        """Return how long to wait for the first token before a hedge, None where there is to be none."""
        if plan.hedge is None:
            return None
        return self._traffic.deadlines.hedge_after_s(call.request, call.deployment, plan.hedge.after, now_s)

    async def enter(self, plan: Plan, way: Itinerary, first: Entrant, clock: Callable[[], float]) -> Turn | None:
        """Return who is to race `first`, its place and both budgets taken; None where nobody may.

        There is no await after a place was taken: whoever is cancelled here holds none.
        """
        if not self._traffic.is_calm(first.turn.deployment.id, clock()):
            return None
        turn = await way.rival(first.turn)
        now_s = clock()
        if turn is None or not self._traffic.is_calm(turn.deployment.id, now_s):
            return None
        at_most = _wasted_nanousd(first.call.request, first.turn.deployment, turn.deployment)
        if at_most is None or not self.budget.allows(plan, at_most, now_s) or not way.enter_at_once(turn):
            return None
        self.budget.take(plan, at_most, now_s)
        return turn


class Race:
    """Two calls for one first token. `rival` is the second once it was sent.

    `open` reads up to the first token and leaves a failure, closed and written down, in its leg; `join` waits until the
    first is late and returns the second, or None.
    """

    def __init__(
        self,
        first: Entrant,
        *,
        open: Callable[[Entrant], Awaitable[None]],
        join: Callable[[], Awaitable[Entrant | None]],
    ) -> None:
        self._first = first
        self._open = open
        self._join = join
        self.rival: Entrant | None = None

    async def run(self) -> Entrant:
        """Return the first to give a first token, else the one whose failure counts.

        Both tasks have ended when this returns or raises, the slower one cancelled; cancelling this cancels both.
        """
        async with asyncio.TaskGroup() as group:
            tasks = (group.create_task(self._run_first()), group.create_task(self._run_rival()))
            try:
                pending = set(tasks)
                while True:
                    _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    found = self._decided(has_first=tasks[0].done(), has_rival=tasks[1].done())
                    if found is not None:
                        return found
            finally:
                for task in tasks:
                    task.cancel()

    def loser(self, winner: Leg | None) -> Entrant | None:
        """Return the entrant that `winner` is not, None where there was no second."""
        if self.rival is None or winner is not self.rival.leg:
            return self.rival
        return self._first

    async def _run_first(self) -> None:
        await self._open(self._first)

    async def _run_rival(self) -> None:
        self.rival = await self._join()
        if self.rival is not None:
            await self._open(self.rival)

    def _decided(self, *, has_first: bool, has_rival: bool) -> Entrant | None:
        first, rival = self._first, self.rival
        error = first.leg.error
        if has_first and (error is None or rival is None or next_step(error, is_retry=False) == "stop"):
            return first  # what is refused outright is not worth waiting for the other's opinion
        if not has_rival or rival is None:
            return None
        if rival.leg.error is None:
            return rival
        if not has_first:
            return None
        is_further = rival.turn.position > first.turn.position
        return rival if is_further and next_step(rival.leg.error, is_retry=False) != "stop" else first


def _wasted_nanousd(request: ChatRequest, *deployments: Deployment) -> int | None:
    """Return what the loser's input may cost, whoever it is; None where a price is unknown."""
    usage = estimated_usage(request, 0)
    costs = [cost_nanousd(deployment.price, usage) for deployment in deployments]
    known = [cost for cost in costs if cost is not None]
    return max(known) if len(known) == len(costs) else None
