"""Asks the policy's cheap model whether two answers to one question say the same, where words and vectors do not tell.

Beside requests, through the flow, booked like any call. Must not decide what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.cache.semantic.refusals import answer_text
from gateway.cache.semantic.verifying import judge_document, verdict_of
from gateway.semantic.again import Run, answered
from gateway.semantic.verifier import side_ask
from gateway.trail import Trail
from router.facts import DoorLimits


@dataclass(slots=True, kw_only=True)
class CheapJudge:
    """gateway.cache.semantic.verifying.AnswerJudge of one request; `model` is the group that is asked."""

    model: str
    limits: DoorLimits
    trail: Trail
    run: Run
    spent_nanousd: int = 0

    async def __call__(self, question: str, stored: str, fresh: str) -> bool | None:
        """Ask, once."""
        document = judge_document(self.model, question, stored, fresh)
        ask = None if document is None else side_ask(self.trail, document, limits=self.limits, name="judge")
        reply = None if ask is None else await answered(self.run, ask)
        if reply is None:
            return None
        self.spent_nanousd += reply.trail.cost_nanousd() or 0
        verdict = verdict_of(answer_text(reply.body or b""))
        return None if verdict == "none" else verdict == "same"

    def take_spent(self) -> int:
        """Return what was spent since the last time."""
        spent, self.spent_nanousd = self.spent_nanousd, 0
        return spent


def judge_of(trail: Trail, run: Run, *, limits: DoorLimits) -> CheapJudge | None:
    """Return the judge of a request's route, None where its policy names no cheap model (`cache.semantic.verify`)."""
    route_class = trail.route_class
    rules = None if route_class is None else route_class.route.cache.semantic
    if route_class is None or rules is None or rules.verify is None:
        return None
    model = route_class.aliases.get(rules.verify.model, rules.verify.model)
    return CheapJudge(model=model, limits=limits, trail=trail, run=run)
