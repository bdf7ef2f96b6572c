"""Decisions as JSON: a plan with every model that was considered, and what became of an ended request.

Shows what was recorded; decides nothing, and has no text and no key to show.
"""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from gateway.outcome import Outcome
from policies.decision import Decision
from policies.explain import Explanation
from policies.narrowing import told

_CACHE = ("cache", "cache_tier", "cache_key", "age_s", "similarity", "nearest", "refused_by")
_COST = ("cost_nanousd", "saved_nanousd", "interaction_cost_nanousd", "usage")
_POLICY = ("policy", "policy_version", "route", "reason")


def shown_explanation(explanation: Explanation) -> list[dict[str, object]]:
    """Return one object a model that was considered, in the policy's order."""
    return [asdict(row) for row in explanation.considered]


def shown_outcome(outcome: Outcome) -> dict[str, object]:
    """Return an ended request: what the tiers said, what was decided and why, every attempt, what it cost."""
    # By field: as a whole, what has its default would be left out.
    fields: dict[str, object] = msgspec.to_builtins(
        {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    )
    decision = fields.pop("decision", None)
    attempts = fields.pop("attempts", ())
    budget = _budget(outcome.decision)
    cache = {name: fields.pop(name) for name in tuple(fields) if name in _CACHE or name.startswith("semantic")}
    cost = {name: fields.pop(name) for name in _COST}
    policy = {name: fields.pop(name) for name in _POLICY}
    return {
        "object": "foreword.explanation",
        **fields,
        "cache": cache,
        "decision": {**policy, **(decision if isinstance(decision, dict) else {}), **budget},
        "attempts": attempts,
        "cost": cost,
    }


def _budget(decision: Decision | None) -> dict[str, str]:
    """Return in words what budgets took off the plan, where they did."""
    if decision is None or decision.headroom is None or decision.cut is None:
        return {}
    return {"budget": told(decision.candidates, decision.headroom, decision.cut)}
