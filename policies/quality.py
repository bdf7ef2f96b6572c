"""Predict a model's quality on a request, with a lower bound: the task's mean first, the question's neighbours on top.

Pure. A prior is counted as so many labels of its mean, so that real labels outweigh it as they come in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from policies.evidence import Evidence, Labels
from policies.rules import QualityRules

OTHER_TASKS = "any"
"""The row of `quality_prior` that stands for every task without one of its own."""

PRIOR_LABELS = 50.0
"""A `quality_prior` counts for as much as an evaluation of 50 questions."""
TASK_LABELS = 10.0
"""The task's mean counts, beside the labels near a question, for as much as 10 of them."""
LEAST_LABELS = 20.0
"""Fewer labels than these, a prior's included, say nothing."""
LEAST_NEAR = 10.0
"""Fewer labels near a question say that it is a new one."""
_SLACK = 1e-9

_NONE = Labels()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A predicted quality from 0 to 1 and the number of labels behind it; `is_known` False: nobody can tell."""

    mean: float
    n: float
    is_known: bool

    def low(self, confidence: float) -> float:
        """Return the one-sided lower bound; 0 where nothing is known. Wilson (JASA 22, 1927), safe at 0 and 1."""
        if not self.is_known:
            return 0.0
        z, n, p = _z(confidence), self.n, self.mean
        spread = z * math.sqrt(max(0.0, p * (1.0 - p)) / n + z * z / (4.0 * n * n))
        return max(0.0, (p + z * z / (2.0 * n) - spread) / (1.0 + z * z / n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is predicted of the models for one request; `reference` is the group that the floor is relative to."""

    rules: QualityRules
    reference: str
    by_group: Mapping[str, Estimate]

    @property
    def wanted(self) -> float:
        """Return the floor in absolute terms: the rules' share of the reference's predicted quality."""
        return self.rules.floor * self.by_group[self.reference].mean

    def reaches(self, group: str) -> bool:
        """Whether the group's lower bound reaches the floor; the reference always does."""
        return group == self.reference or self.by_group[group].low(self.rules.confidence) >= self.wanted - _SLACK

    def may_stand_in(self, group: str) -> bool:
        """Whether the group's mean reaches the floor: what a fallback needs, here as in floors.py."""
        found = self.by_group[group]
        return group == self.reference or (found.n > 0 and found.mean >= self.wanted - _SLACK)


def predict(
    groups: tuple[str, ...],
    *,
    rules: QualityRules,
    reference: str,
    priors: Mapping[str, Mapping[str, float]],
    task: str,
    evidence: Evidence,
    use_neighbours: bool,
) -> Prediction:
    """Predict the quality of `groups` and of the reference on a request of `task`.

    With `use_neighbours`, and where the evidence has any, a model that is not judged on similar questions is unknown.
    """
    near = evidence.near if use_neighbours else None
    found: dict[str, Estimate] = {}
    for group in {*groups, reference}:
        prior = prior_of(priors.get(group, {}), task, default=1.0 if group == reference else None)
        estimate = task_estimate(prior, evidence.task.get(group, _NONE))
        found[group] = estimate if near is None else near_estimate(estimate, near.get(group, _NONE))
    return Prediction(rules=rules, reference=reference, by_group=found)


def prior_of(priors: Mapping[str, float], task: str, *, default: float | None) -> float | None:
    """Return the file's prior for a task: its own, else that of every other task, else `default`."""
    return priors.get(task, priors.get(OTHER_TASKS, default))


def task_estimate(prior: float | None, labels: Labels) -> Estimate:
    """Return the mean of the prior, as PRIOR_LABELS pseudo-counts, and the labels."""
    weight = 0.0 if prior is None else PRIOR_LABELS
    n = weight + labels.n
    mean = ((prior or 0.0) * weight + labels.total) / n if n > 0 else 0.0
    return Estimate(mean=min(1.0, mean), n=n, is_known=n >= LEAST_LABELS)


def near_estimate(task: Estimate, near: Labels) -> Estimate:
    """Return the mean of the labels near a question, with the task's mean as TASK_LABELS pseudo-counts."""
    weight = min(TASK_LABELS, task.n)
    n = weight + near.n
    mean = (task.mean * weight + near.total) / n if n > 0 else 0.0
    return Estimate(mean=min(1.0, mean), n=n, is_known=near.n >= LEAST_NEAR)


@lru_cache(maxsize=64)
def _z(confidence: float) -> float:
    """Return the normal quantile; confidence 1 asks for what no number of labels gives."""
    return NormalDist().inv_cdf(min(confidence, 1.0 - 1e-12))
