"""Where the flow meets the semantic tier: a look before a miss is paid for, a lesson after it.

Free for a route without `cache.semantic`. Must not decide about a pair (the gate does) nor make a user wait to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cache.codec import StoredAnswer
from gateway.cache.exact import Hit
from gateway.cache.semantic.gate import Serve
from gateway.cache.semantic.learning import Fresh, Learner
from gateway.cache.semantic.look import Asked, Looked
from gateway.cache.semantic.tier import SemanticTier
from gateway.metrics import Metrics
from gateway.ports import StoreUnavailable
from gateway.semantic.again import Background, Run, answered, asked_again
from gateway.semantic.answer_judge import judge_of
from gateway.semantic.lessons import Lessons
from gateway.semantic.verifier import Verifier, Verifying
from gateway.trail import Ask, Trail
from policies.model import RouteClass
from router.facts import DoorLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticHook:
    """See the module. `tier` and `lessons` are None where there is no embedder or no store for it."""

    tier: SemanticTier | None
    lessons: Lessons | None
    background: Background
    verifier: Verifier
    limits: DoorLimits
    metrics: Metrics

    async def look_up(self, ask: Ask, trail: Trail, route_class: RouteClass, *, run: Run) -> Hit | None:
        """Return another wording's answer, or None: nothing was found, or the route wants none. Never raises."""
        rules = route_class.route.cache.semantic
        if rules is None or self.tier is None or ask.identity is not None or ask.origin in ("refresh", "cache"):
            return None
        asked = Asked(
            request=ask.request,
            route_class=route_class,
            rules=rules,
            key=trail.key,
            caller=ask.caller,
            arm=trail.arm,
            namespace=ask.cache_control.namespace,
            max_age_s=ask.cache_control.max_age_s,
            opted_in=ask.store_sampled,
        )
        looked = await self.tier.look_up(asked, self._verifying(trail, run))
        trail.looked = looked
        trail.vector = None if looked.place is None else looked.place.vector
        self.metrics.semantic_lookup(looked.refused)
        if looked.hit is None:
            return None
        self.metrics.semantic_similarity(looked.similarity)
        judged = looked.judged
        if judged is not None and isinstance(judged.decision, Serve) and judged.decision.is_sampled:
            self.background.begin(self._after_hit(trail, looked, run), name="semantic-label")
        return looked.hit

    def learn(self, trail: Trail, answer: StoredAnswer, *, run: Run) -> None:
        """Let a good fresh answer teach, in the background; only those that were looked for do."""
        looked = trail.looked
        if looked is None or self.lessons is None or looked.place is None or looked.hit is not None:
            return
        if looked.judged is None:  # there is nothing to compare with
            self.lessons.take(looked.place, answer)
            return
        self.background.begin(self._after_miss(trail, looked, answer, run), name="semantic-lesson")

    async def _after_miss(self, trail: Trail, looked: Looked, answer: StoredAnswer, run: Run) -> None:
        try:
            again = _Again(limits=self.limits, trail=trail, run=run)
            await self._learner(trail, run).after_miss(looked, answer, again)
        except StoreUnavailable:
            return  # the same question teaches another time

    async def _after_hit(self, trail: Trail, looked: Looked, run: Run) -> None:
        try:
            await self._learner(trail, run).after_hit(looked, _Again(limits=self.limits, trail=trail, run=run))
        except StoreUnavailable:
            return

    def _learner(self, trail: Trail, run: Run) -> Learner:
        assert self.tier is not None
        return Learner(self.tier, self._verifying(trail, run), judge_of(trail, run, limits=self.limits))

    def _verifying(self, trail: Trail, run: Run) -> Verifying:
        return Verifying(verifier=self.verifier, trail=trail, run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """gateway.cache.semantic.learning.AskAgain for one request."""

    limits: DoorLimits
    trail: Trail
    run: Run

    async def __call__(self, *, text: str | None = None, keep: bool = False) -> Fresh:
        """Ask through the flow, and read the answer as the cache would have stored it."""
        ask = asked_again(self.trail, limits=self.limits, text=text, keep=keep)
        reply = None if ask is None else await answered(self.run, ask)
        if reply is None:
            return Fresh(answer=None, cost_nanousd=0)
        return Fresh(answer=reply.trail.made, cost_nanousd=reply.trail.cost_nanousd() or 0)
