"""Which arm decides a request on a route with a quality floor: a pure function of the draw and of what is proven.

The control arm is permanent. While the learned arm's gain is not proven, the task's means decide (the fixed policy),
and the learned arm gets as many requests as the control arm, so that it can be.
"""

from __future__ import annotations

from policies.evidence import Arm, Evidence
from policies.model import RequestFacts
from policies.quality import OTHER_TASKS
from policies.rules import KnnRules

_TASK = "task="


def arm_of(rules: KnnRules, evidence: Evidence, draw: float) -> Arm:
    """Return who decides. Without neighbours to ask there is nothing learnt: the task's means decide."""
    if draw < rules.control:
        return "control"
    if evidence.near is not None and (evidence.is_proven or draw < 2.0 * rules.control):
        return "learned"
    return "fixed"


def task_of(facts: RequestFacts) -> str:
    """Return the value of the request's `task=` tag, the first by name of several; `any` without one."""
    return min((tag[len(_TASK) :] for tag in facts.tags if tag.startswith(_TASK)), default=OTHER_TASKS)
