"""Copies of a share of requests to other models, within a budget of their own: nobody waits for them or sees them.

Their answers are stored nowhere; what they took and cost is in their Outcomes (origin `shadow`). Never in the way: a
copy is made after the answer, at the lowest priority, and dropped where anything is short.
"""

from __future__ import annotations

import random

from gateway.aside import Asides, Start, alone, group_of
from gateway.trail import Ask, Trail
from policies.rules import ShadowRules


class Shadows:
    """Owner of the copies under way in this worker."""

    def __init__(self, asides: Asides, *, rng: random.Random) -> None:
        self._asides = asides
        self._rng = rng
        self._under_way = 0

    def consider(self, ask: Ask, trail: Trail, start: Start) -> None:
        """Perhaps copy a user's request whose own call has just ended. Returns at once."""
        policy, plan, route_class = trail.policy, trail.plan, trail.route_class
        if policy is None or policy.shadow is None or plan is None or route_class is None or ask.origin != "user":
            return
        rules = policy.shadow
        if self._under_way >= rules.max_concurrency or self._rng.random() >= rules.sample:
            return
        group = group_of(policy, self._rng.choice(rules.models))
        if not self._asides.may_ask(group, route_class):
            return
        copied = self._asides.trail(trail, alone(plan, group, purpose="shadow"), purpose="shadow")
        self._under_way += 1
        self._asides.supervisor.spawn(self._copy(copied, rules, start), name="shadow")

    async def _copy(self, copied: Trail, rules: ShadowRules, start: Start) -> None:
        try:
            await self._asides.ask(copied, purpose="shadow", limit_nanousd_day=rules.limit_nanousd_day, start=start)
        finally:
            self._under_way -= 1
