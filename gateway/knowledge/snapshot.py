"""What all labels say at one moment, frozen: sums per task and model, and questions to search. No I/O, no clock.

The same labels and hour give the same snapshot on every worker; `version` names both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gateway.cache.semantic.types import Vector
from gateway.knowledge.basis import Basis, Numbers, fit, unpack
from gateway.knowledge.labels import SOURCES, Label
from gateway.knowledge.uplift import Arms, Sums, Uplift
from policies.evidence import Evidence, Labels
from policies.rules import KnnRules

HALF_LIFE_S: Final = 14 * 86400.0
"""After two weeks a label counts half: models and questions change under their names."""
HOUR_S: Final = 3600.0

_RANK: Final = {source: rank for rank, source in enumerate(SOURCES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examples:
    """Labelled questions of one task; those of a model group lie together at `places[group]`."""

    rows: Numbers
    weights: Numbers
    weighed: Numbers
    places: Mapping[str, tuple[int, int]]

    def near(self, question: Numbers, rules: KnnRules) -> Mapping[str, Labels]:
        """Return by group the sums over its `k` most similar questions of at least `min_similarity`."""
        similarities = self.rows @ question
        found: dict[str, Labels] = {}
        for group, (begin, end) in self.places.items():
            part = similarities[begin:end]
            if end - begin > rules.k:
                chosen = np.argpartition(part, end - begin - rules.k)[end - begin - rules.k :]
                chosen = chosen[part[chosen] >= rules.min_similarity]
            else:
                chosen = np.flatnonzero(part >= rules.min_similarity)
            if len(chosen):
                chosen += begin
                found[group] = Labels(float(self.weights[chosen].sum()), float(self.weighed[chosen].sum()))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    by_group: Mapping[str, Labels]
    examples: _Examples | None
    shares: Mapping[str, float]
    uplift: Uplift | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything known of every task of every policy. `labels` counts judged answers, `examples` those with a vector.

    `dim` is the length of the vectors that can be compared with the examples, 0 where there are none.
    """

    version: str = ""
    labels: int = 0
    examples: int = 0
    dim: int = 0
    basis: Basis = field(default_factory=Basis)
    tasks: Mapping[tuple[str, str], _Task] = field(default_factory=dict)

    def evidence(self, policy: str, task: str, vector: Vector | None, rules: KnnRules) -> Evidence:
        """Return what is known for one request: below 1 ms over 20,000 examples, microseconds without a vector."""
        known = self.tasks.get((policy, task))
        if known is None:
            return Evidence(version=self.version)
        near = None
        if vector is not None and known.examples is not None and len(vector) == self.dim:
            near = known.examples.near(self.basis.reduce(vector[None, :])[0], rules)
        return Evidence(
            version=self.version,
            task=known.by_group,
            near=near,
            shares=known.shares,
            uplift_low=None if known.uplift is None else known.uplift.low,
        )

    def uplifts(self) -> Mapping[tuple[str, str], Uplift]:
        """Return the gain of the learned arm by policy and task, where there is an interval."""
        return {name: task.uplift for name, task in self.tasks.items() if task.uplift is not None}


def build(labels: Sequence[Label], *, last_id: str, now: float, space: str) -> Snapshot:
    """Build the snapshot of `labels`, oldest first, as of the hour of `now`; vectors of other spaces are left out.

    Of several judgements of one answer the most telling source's newest counts. 0.3 s for 20,000: not on the loop.
    """
    hour = int(now // HOUR_S)
    kept = _best(labels)
    with_vector = [label for label in kept if label.packed and label.space == space]
    dim = len(with_vector[-1].packed) if with_vector else 0
    with_vector = [label for label in with_vector if len(label.packed) == dim]
    vectors = unpack([label.packed for label in with_vector], dim) if dim else np.zeros((0, 1), np.float32)
    basis = fit(vectors)
    found: dict[tuple[str, str], list[Label]] = {}
    for label in kept:
        found.setdefault((label.policy, label.task), []).append(label)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, label in enumerate(with_vector):
        rows.setdefault((label.policy, label.task), []).append(row)
    reduced, now_s = basis.reduce(vectors), hour * HOUR_S
    tasks = {
        name: _task(labelled, [with_vector[row] for row in rows.get(name, ())], reduced[rows.get(name, [])], now_s)
        for name, labelled in found.items()
    }
    return Snapshot(
        version=f"{last_id}@{hour}",
        labels=len(kept),
        examples=len(with_vector),
        dim=dim,
        basis=basis,
        tasks=tasks,
    )


def _best(labels: Sequence[Label]) -> Sequence[Label]:
    best: dict[str, Label] = {}
    for label in labels:
        before = best.get(label.request_id)
        if before is None or _RANK[label.source] >= _RANK[before.source]:
            best[label.request_id] = label
    return tuple(best.values())


def _task(labels: Sequence[Label], with_vector: Sequence[Label], rows: Numbers, now_s: float) -> _Task:
    sums: dict[str, Sums] = {}
    for label in labels:
        sums.setdefault(label.group, Sums()).add(label.quality, _weight(label, now_s))
    # Only requests with a vector can be the learned arm's: both arms are compared on those.
    arms = Arms()
    for label in with_vector:
        if label.arm in ("learned", "control"):
            arm = arms.learned if label.arm == "learned" else arms.control
            arm.setdefault(label.group, Sums()).add(label.quality, _weight(label, now_s))
    return _Task(
        by_group={group: Labels(found.n, found.total) for group, found in sums.items()},
        examples=_examples(with_vector, rows, now_s) if with_vector else None,
        shares=arms.shares(),
        uplift=arms.uplift(),
    )


def _examples(labels: Sequence[Label], rows: Numbers, now_s: float) -> _Examples:
    order = sorted(range(len(labels)), key=lambda row: labels[row].group)
    weights = np.array([_weight(labels[row], now_s) for row in order], np.float32)
    qualities = np.array([labels[row].quality for row in order], np.float32)
    places: dict[str, tuple[int, int]] = {}
    for at, row in enumerate(order):
        begin, _ = places.get(labels[row].group, (at, at))
        places[labels[row].group] = (begin, at + 1)
    return _Examples(rows=rows[order], weights=weights, weighed=weights * qualities, places=places)


def _weight(label: Label, now_s: float) -> float:
    age_s = max(0.0, now_s - label.at)
    return float(0.5 ** (age_s / HALF_LIFE_S))
