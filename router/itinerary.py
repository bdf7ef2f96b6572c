"""Where one request goes next: the deployments of its plan in turn, as failures, breakers, limits and budget allow.

Must not call a provider or read an answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec

from policies.model import Plan
from router.deadlines import Limits, Measure
from router.errors import NoDeployment, ProviderError
from router.ports import Clock, Deployments
from router.steps import Step, next_step
from router.traffic import Traffic
from router.types import ChatRequest, Deployment, Priority, Reason


class Turn(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whom to ask, why, and whether the plan has nowhere else to go. `is_forced`: although its breaker is open."""

    deployment: Deployment
    position: int
    reason: Reason
    is_last: bool
    is_forced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all requests share."""

    deployments: Deployments
    traffic: Traffic
    clock: Clock
    rng: random.Random
    limits: Limits


class Itinerary:
    """The way of one request. A turn that `enter` let in is ended by its owner: place, and breaker.

    `error` says why nobody could be asked, where that was so.
    """

    def __init__(
        self,
        around: Surroundings,
        request: ChatRequest,
        plan: Plan,
        *,
        started_s: float,
        priority: Priority,
        tenant: str,
    ) -> None:
        self._around = around
        self._request = request
        self._plan = plan
        self._started_s = started_s
        self._priority: Priority = priority
        self._tenant = tenant
        self._most = plan.max_attempts or around.limits.max_attempts
        self._tries: dict[str, int] = {}
        self._count = 0
        self._asked_at: dict[int, int] = {}
        self._passed: dict[str, Turn] = {}
        self.error: ProviderError | None = None

    @property
    def left_s(self) -> float:
        """What is left of the request's deadline."""
        return self._plan.deadline_s - (self._around.clock.monotonic() - self._started_s)

    async def first(self) -> Turn | None:
        """Return whom to ask first."""
        return await self._from(0, reason="first") or await self._last_resort()

    async def enter(self, turn: Turn) -> bool:
        """Take a place at the turn's deployment, waiting for one while that makes sense; False: go `beyond`."""
        traffic, now_s = self._around.traffic, self._around.clock.monotonic()
        name = turn.deployment.id
        may_go = traffic.breakers.admit(name, now_s)
        if not may_go and not turn.is_forced:
            self._passed[name] = turn
            return False
        is_in = traffic.places.take(name)
        try:
            is_in = is_in or await self._queue(turn)
        finally:
            if not is_in and may_go:
                traffic.breakers.abandoned(name)
        if is_in:
            self._note_entry(turn)
            return True
        self._passed[name] = msgspec.structs.replace(turn, is_forced=True)  # it has been waited for: no last resort
        self.error = self.error or ProviderError(
            f"{turn.deployment.provider} is busy: no place in the queue", kind="overloaded", source="gateway"
        )
        return False

    async def rival(self, turn: Turn) -> Turn | None:
        """Return who could race a late turn: another deployment of its group, else of the models after it."""
        exclude = frozenset({turn.deployment.id, *self._tries, *self._passed})
        for position in range(turn.position, len(self._plan.candidates)):
            if (found := await self._pick(position, "hedge", exclude)) is not None:
                return found
        return None

    def enter_at_once(self, turn: Turn) -> bool:
        """Take a place for a hedge if there is one now, the breaker is closed and the shared budget allows it."""
        name = turn.deployment.id
        places, breakers = self._around.traffic.places, self._around.traffic.breakers
        if breakers.state(name) != "closed" or not places.take(name):
            return False
        if not self.may_repeat():
            places.release(name)
            return False
        self._note_entry(turn)
        return True

    async def beyond(self, turn: Turn) -> Turn | None:
        """Return who comes after a turn that was not let in."""
        found = await self._other(turn, turn.reason) or await self._from(turn.position + 1, reason=turn.reason)
        return found or await self._last_resort()

    async def after(self, turn: Turn, error: ProviderError) -> Turn | None:
        """Return who comes after a failure, None where nobody does; pauses before a retry.

        Each repetition takes from the budget that all requests share.
        """
        step = next_step(error, is_retry=self._tries[turn.deployment.id] > 1)
        if step == "stop" or self._count >= self._most:
            return None
        pause_s = 0.0
        found: Turn | None = None
        if step != "next_model":
            found = await self._other(turn, "retry" if step == "retry" else "fallback")
            if step == "retry":
                pause_s = self._around.rng.uniform(0.0, self._around.limits.backoff_s)
                found, pause_s = self._same(turn, error, found, pause_s)
        if found is None:
            pause_s = 0.0
            found = await self._from(turn.position + 1, reason="fallback", step=step, than=turn)
        if found is None or not self._around.traffic.budget.take(self._around.clock.monotonic()):
            return None
        if pause_s:
            await self._around.clock.sleep(pause_s)
        return found

    async def resuming(self, turn: Turn, error: ProviderError | None) -> Turn | None:
        """Return who could go on with a stream that broke: another deployment, the fallbacks, then the same again.

        `error` None: the turn's answer did not fit, which asking again would not change.
        """
        if error is not None and next_step(error, is_retry=False) == "stop":
            return None
        found = await self._other(turn, "resume") or await self._from(turn.position + 1, reason="resume")
        name = turn.deployment.id
        is_worth_it = error is not None and error.kind != "timeout" and self._tries[name] < 2
        if found is None and is_worth_it and self._around.traffic.is_open(name, self._around.clock.monotonic()):
            found = msgspec.structs.replace(turn, reason="resume", is_last=True, is_forced=False)
        if found is None or not self.may_repeat():
            return None
        return found

    def may_repeat(self) -> bool:
        """Take one repetition from the shared budget, if it and the bound on attempts allow."""
        if self._count >= self._most:
            return False
        return self._around.traffic.budget.take(self._around.clock.monotonic())

    # Looking for somebody.

    async def _from(
        self, position: int, *, reason: Reason, step: Step = "next", than: Turn | None = None
    ) -> Turn | None:
        """Return the first from candidate `position` on that may be asked now."""
        candidates = self._plan.candidates
        for place in range(position, len(candidates)):
            if step == "next_model" and than is not None and not self._is_larger(candidates[place], than):
                continue
            named: Reason = "fallback" if reason == "first" and place else reason
            if (found := await self._pick(place, named, frozenset())) is not None:
                return found
        return None

    async def _other(self, turn: Turn, reason: Reason) -> Turn | None:
        """Return a deployment of the same group that has not been asked yet."""
        exclude = frozenset({turn.deployment.id, *self._tries, *self._passed})
        return await self._pick(turn.position, reason, exclude)

    def _same(self, turn: Turn, error: ProviderError, other: Turn | None, pause_s: float) -> tuple[Turn | None, float]:
        """Return the other deployment, else the same one where it can be waited for; with the pause."""
        if other is None:
            if self._asked_at[turn.position] > 1:  # another one of the group was asked for this retry
                return None, 0.0
            pause_s += error.retry_after_s or 0.0
            other = msgspec.structs.replace(turn, reason="retry", is_forced=False)
            if not self._around.traffic.breakers.would_admit(turn.deployment.id, self._around.clock.monotonic()):
                return None, 0.0
        left_s = self.left_s
        if pause_s > (left_s if turn.is_last else min(left_s, self._around.limits.patience_s)):
            return None, 0.0
        return other, pause_s

    async def _pick(self, position: int, reason: Reason, exclude: frozenset[str]) -> Turn | None:
        around, group = self._around, self._plan.candidates[position]
        while True:
            try:
                found = await around.deployments.pick(group, self._request, exclude=exclude)
            except NoDeployment as missing:
                self._note_missing(missing)
                return None
            is_last = position == len(self._plan.candidates) - 1
            turn = Turn(deployment=found, position=position, reason=reason, is_last=is_last)
            if around.traffic.is_open(found.id, around.clock.monotonic()):
                return turn
            self._passed.setdefault(found.id, turn)
            exclude |= {found.id}

    async def _last_resort(self) -> Turn | None:
        """Return somebody in spite of an open breaker where nobody was asked at all: the last candidate is never
        ejected. One that has named a time is asked then, if the deadline allows."""
        if self._count:
            return None
        now_s = self._around.clock.monotonic()
        waits = [
            (self._around.traffic.held_s(name, now_s), turn)
            for name, turn in self._passed.items()
            if not turn.is_forced
        ]
        if not waits:
            return None
        wait_s, turn = min(waits, key=lambda pair: pair[0])
        if wait_s >= self.left_s:
            self.error = ProviderError(
                f"{turn.deployment.provider} has asked not to be called for another {wait_s:.0f} s",
                kind="rate_limited",
                source="provider",
                status=429,
                retry_after_s=wait_s,
            )
            return None
        if wait_s:
            await self._around.clock.sleep(wait_s)
        return msgspec.structs.replace(turn, is_forced=True, is_last=True)

    async def _queue(self, turn: Turn) -> bool:
        """Wait for a place; not where what is left of the deadline would not do for a usual first token."""
        around, deployment = self._around, turn.deployment
        now_s = around.clock.monotonic()
        measure: Measure = "first_token" if self._request.stream else "whole"
        median_s = around.traffic.deadlines.quantile(self._request, deployment, measure, 0.5, now_s) or 0.0
        at_most_s = self.left_s - median_s
        if not turn.is_last:
            at_most_s = min(at_most_s, around.limits.patience_s)
        return await around.traffic.places.wait(
            deployment.id, priority=self._priority, tenant=self._tenant, at_most_s=at_most_s
        )

    def _is_larger(self, group: str, than: Turn) -> bool:
        """Say whether a model may hold what did not fit: its window is larger, or nobody knows."""
        catalogue = self._around.deployments.catalogue()
        card, refused = catalogue.get(group), catalogue.get(than.deployment.group)
        if card is None or refused is None or card.context_window is None or refused.context_window is None:
            return True
        return card.context_window > refused.context_window

    def _note_entry(self, turn: Turn) -> None:
        name = turn.deployment.id
        self._tries[name] = self._tries.get(name, 0) + 1
        self._count += 1
        self._asked_at[turn.position] = self._asked_at.get(turn.position, 0) + 1

    def _note_missing(self, missing: NoDeployment) -> None:
        if self.error is None:
            self.error = ProviderError(
                str(missing), kind="overloaded", source="gateway", retry_after_s=missing.retry_after_s
            )
