"""Who needs the strong model, predicted out of fold: the task's mean, neighbours by several vectors, and both together.

The formulas are those of policies/quality.py over arrays; `check` holds them against the scalar ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.knowledge.basis import DIM, Basis, fit
from policies.evidence import Labels
from policies.quality import PRIOR_LABELS, TASK_LABELS, near_estimate, task_estimate
from tests.bench.routing_data import Floats, Prompts, Vectors

FOLDS = 5
K, MIN_SIMILARITY = 100, 0.55
_BLOCK = 512

Rows = npt.NDArray[np.int64]


def folds(n: int, *, seed: int) -> Rows:
    """Return each prompt's fold."""
    return np.random.default_rng(seed).permutation(n) % FOLDS


def task_means(prompts: Prompts, fold: Rows, quality: Floats) -> Floats:
    """Return each prompt's task's mean quality in the other folds, with the whole mean as its prior."""
    names = np.array(prompts.tasks)
    found = np.zeros(len(names))
    for number in range(FOLDS):
        known = fold != number
        whole = quality[known].mean()
        for name in set(prompts.tasks):
            labelled, asked = known & (names == name), (names == name) & (fold == number)
            found[asked] = (quality[labelled].sum() + PRIOR_LABELS * whole) / (labelled.sum() + PRIOR_LABELS)
    return found


def whole_means(fold: Rows, quality: Floats) -> Floats:
    """Return the mean quality of the other folds: what is known where requests carry no task."""
    return np.array([quality[fold != number].mean() for number in range(FOLDS)])[fold]


def near_gaps(
    prompts: Prompts, fold: Rows, vectors: Vectors, prior: Floats, *, reduction: str, min_similarity: float
) -> tuple[Floats, Floats]:
    """Return the predicted gap of each prompt, and how many neighbours it had; without a vector the prior."""
    has_vector = ~np.isnan(vectors[:, 0])
    gap, found, counts = prompts.gap, prior.copy(), np.zeros(len(prior))
    for number in range(FOLDS):
        known = np.flatnonzero((fold != number) & has_vector)
        asked = np.flatnonzero((fold == number) & has_vector)
        basis = basis_of(reduction, vectors[known])
        rows, gaps = basis.reduce(vectors[known]), gap[known]
        for begin in range(0, len(asked), _BLOCK):
            block = asked[begin : begin + _BLOCK]
            near = basis.reduce(vectors[block]) @ rows.T
            k = min(K, near.shape[1] - 1)
            chosen = np.argpartition(near, near.shape[1] - k, axis=1)[:, near.shape[1] - k :]
            counted = np.take_along_axis(near, chosen, axis=1) >= min_similarity
            n, total = counted.sum(axis=1), (gaps[chosen] * counted).sum(axis=1)
            found[block] = (prior[block] * TASK_LABELS + total) / (TASK_LABELS + n)
            counts[block] = n
    return found, counts


def basis_of(reduction: str, vectors: Vectors) -> Basis:
    """Return how vectors are made small: not at all, by a fixed random projection, or as the gateway does."""
    if reduction == "none":
        return Basis()
    if reduction == "random":
        columns, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(vectors.shape[1], DIM)))
        return Basis(directions=columns.astype(np.float32))
    return fit(vectors)


def check() -> None:
    """Hold the arrays' formula against the scalar one that decides."""
    task = task_estimate(0.6, Labels(100, 70))
    wanted = (task.mean * TASK_LABELS + 30) / (TASK_LABELS + 40)
    assert abs(near_estimate(task, Labels(40, 30)).mean - wanted) < 1e-12
