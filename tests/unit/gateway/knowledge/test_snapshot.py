"""What labels say at one moment: sums, decay, precedence, neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.knowledge.basis import LEAST_TO_FIT, Numbers, fit, pack, unpack
from gateway.knowledge.labels import Label, Source
from gateway.knowledge.snapshot import HALF_LIFE_S, Snapshot, build
from policies.evidence import Arm, Evidence
from policies.rules import KnnRules

NOW = 1_750_000_000.0 // 3600 * 3600
RULES = KnnRules(k=20, min_similarity=0.5)


def label(
    request_id: str,
    quality: float,
    *,
    group: str = "small",
    source: Source = "feedback",
    at: float = NOW,
    vector: Numbers | None = None,
    arm: Arm = "fixed",
    space: str = "e",
) -> Label:
    packed = b"" if vector is None else pack(vector.astype(np.float32))
    return Label(at, quality, source, request_id, "p", "t", group, arm, space if packed else "", packed)


def snapshot(*labels: Label, now: float = NOW) -> Snapshot:
    return build(labels, last_id="5-0", now=now, space="e")


def evidence(found: Snapshot, vector: Numbers | None = None) -> Evidence:
    return found.evidence("p", "t", None if vector is None else vector.astype(np.float32), RULES)


def test_a_label_counts_half_after_its_half_life() -> None:
    found = evidence(snapshot(label("a", 1.0, at=NOW - HALF_LIFE_S), label("b", 0.0)))
    assert (found.task["small"].n, found.task["small"].total) == (1.5, 0.5)


def test_the_most_telling_source_counts_and_of_one_source_the_newest() -> None:
    found = snapshot(
        label("a", 1.0, source="schema"),
        label("a", 0.2, source="feedback"),
        label("a", 0.9, source="judge"),
        label("b", 0.0, source="judge"),
        label("b", 1.0, source="judge"),
    )
    assert found.labels == 2
    assert evidence(found).task["small"].total == pytest.approx(1.2)


def test_tasks_and_policies_do_not_see_each_other() -> None:
    found = snapshot(label("a", 1.0))
    assert found.evidence("p", "other", None, RULES).task == {}
    assert found.evidence("q", "t", None, RULES).task == {}


def test_the_version_names_the_last_label_and_the_hour() -> None:
    assert snapshot(label("a", 1.0)).version == snapshot(label("a", 1.0), now=NOW + 3599).version
    assert snapshot(label("a", 1.0)).version != snapshot(label("a", 1.0), now=NOW + 3600).version


def clusters(n: int, *, dim: int = 384) -> tuple[Numbers, Numbers, tuple[Label, ...]]:
    """Two kinds of questions; the small model is right about the first only."""
    rng = np.random.default_rng(3)
    one, two = np.eye(dim, dtype=np.float32)[0], np.eye(dim, dtype=np.float32)[1]
    labels = []
    for at in range(n):
        for kind, centre in enumerate((one, two)):
            vector = centre + rng.normal(size=dim) * 0.02
            labels += [
                label(f"{kind}-{at}", 1.0 - kind, vector=vector, arm="learned"),
                label(f"{kind}-{at}-large", 1.0, group="large", vector=vector, arm="control"),
            ]
    return one, two, tuple(labels)


@pytest.mark.parametrize("n", [15, 1 + LEAST_TO_FIT // 4])
def test_neighbours_are_told_apart_with_few_examples_and_with_many(n: int) -> None:
    one, two, labels = clusters(n)
    found = snapshot(*labels)
    assert (found.basis.directions is not None) == (n > 15)
    near_one, near_two = evidence(found, one).near, evidence(found, two).near
    assert near_one is not None
    assert near_two is not None
    k = min(RULES.k, n)
    assert (near_one["small"].n, near_one["small"].total) == (k, k)
    assert (near_two["small"].n, near_two["small"].total) == (k, 0)
    assert near_one["large"].total == k


def test_a_question_like_none_has_no_neighbours_and_one_without_a_vector_none_to_speak_of() -> None:
    found = snapshot(*clusters(15)[2])
    assert evidence(found, np.eye(384, dtype=np.float32)[9]).near == {}
    assert evidence(found).near is None
    assert evidence(found, np.eye(100, dtype=np.float32)[0]).near is None
    assert evidence(snapshot(label("a", 1.0)), np.eye(384, dtype=np.float32)[0]).near is None


def test_vectors_of_another_embedder_are_left_out_but_their_qualities_count() -> None:
    found = snapshot(label("a", 1.0, vector=np.eye(384, dtype=np.float32)[0], space="other"))
    assert found.examples == 0
    assert evidence(found).task["small"].n == 1


def test_only_the_learned_arm_makes_the_shares() -> None:
    found = evidence(snapshot(*clusters(15)[2]))
    assert found.shares == {"small": 1.0}


def test_a_byte_a_number_keeps_cosines() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 384)).astype(np.float32)
    kept = unpack([pack(row) for row in rows], 384)
    exact = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert float(np.abs(kept @ kept.T - exact @ exact.T).max()) < 0.01


def test_the_same_vectors_have_the_same_basis() -> None:
    rows = np.random.default_rng(2).normal(size=(LEAST_TO_FIT, 384)).astype(np.float32)
    first, second = fit(rows).directions, fit(rows.copy()).directions
    assert first is not None
    assert second is not None
    assert first.shape == (384, 64)
    assert np.array_equal(first, second)
