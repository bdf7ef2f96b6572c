"""Predicted quality: the prior, the task's labels, the question's neighbours, and what the bound asks of them."""

from __future__ import annotations

import pytest

from policies.arms import arm_of, task_of
from policies.evidence import Evidence, Labels
from policies.quality import Estimate, near_estimate, predict, task_estimate
from policies.rules import KnnRules, QualityRules

RULES = QualityRules(floor=0.9, confidence=0.9)


def reaches(evidence: Evidence, *, prior: float | None = None, learned: bool = False) -> bool:
    priors = {} if prior is None else {"small": {"any": prior}}
    found = predict(
        ("small", "large"),
        rules=RULES,
        reference="large",
        priors={**priors, "large": {"any": 0.9}},
        task="fallacy",
        evidence=evidence,
        use_neighbours=learned,
    )
    return found.reaches("small")


def test_the_bound_is_wilsons() -> None:
    # By hand: centre 0.80821, spread 0.05192, both over 1.01642, at z 1.2816.
    assert Estimate(mean=0.8, n=100, is_known=True).low(0.9) == pytest.approx(0.7440, abs=1e-4)


def test_labels_outweigh_a_prior_as_they_come_in() -> None:
    means = [task_estimate(0.5, Labels(n, n)).mean for n in (0, 50, 450)]
    assert means == [0.5, 0.75, 0.95]


def test_a_model_without_prior_and_labels_is_unknown_and_does_not_reach_any_floor() -> None:
    assert not reaches(Evidence())
    assert not reaches(Evidence(task={"small": Labels(19, 19)}))
    assert reaches(Evidence(task={"small": Labels(100, 98)}))


def test_a_prior_alone_suffices_where_it_is_far_enough_above_the_floor() -> None:
    assert not reaches(Evidence(), prior=0.85)
    assert reaches(Evidence(), prior=0.95)


def test_a_mean_at_the_floor_is_not_enough_the_bound_must_be() -> None:
    assert not reaches(Evidence(task={"small": Labels(100, 81)}))
    assert reaches(Evidence(task={"small": Labels(100_000, 82_000)}))


def test_neighbours_overrule_the_task_both_ways() -> None:
    task = {"small": Labels(1000, 700), "large": Labels(1000, 900)}
    good, bad = {"small": Labels(100, 99)}, {"small": Labels(100, 40)}
    assert not reaches(Evidence(task=task, near=good))
    assert reaches(Evidence(task=task, near=good), learned=True)
    assert not reaches(Evidence(task={"small": Labels(1000, 990)}, near=bad), learned=True)


def test_a_question_like_none_before_goes_to_the_reference() -> None:
    task = {"small": Labels(1000, 990)}
    assert reaches(Evidence(task=task))
    assert not reaches(Evidence(task=task, near={}), learned=True)
    assert not reaches(Evidence(task=task, near={"small": Labels(9, 9)}), learned=True)
    assert near_estimate(task_estimate(None, task["small"]), Labels(10, 10)).is_known


def test_without_a_vector_the_tasks_mean_decides() -> None:
    assert reaches(Evidence(task={"small": Labels(1000, 990)}, near=None), learned=True)


@pytest.mark.parametrize(
    ("draw", "near", "low", "arm"),
    [
        (0.0299, None, None, "control"),
        (0.0299, {}, 0.1, "control"),
        (0.03, {}, None, "learned"),
        (0.0599, {}, -0.1, "learned"),
        (0.06, {}, -0.1, "fixed"),
        (0.06, {}, 0.0, "fixed"),
        (0.06, {}, 0.001, "learned"),
        (0.06, None, 0.001, "fixed"),
        (0.03, None, None, "fixed"),
    ],
)
def test_the_learned_arm_rules_only_once_its_gain_is_proven(
    draw: float, near: dict[str, Labels] | None, low: float | None, arm: str
) -> None:
    assert arm_of(KnnRules(control=0.03), Evidence(near=near, uplift_low=low), draw) == arm


def test_no_control_arm_where_the_file_says_so() -> None:
    assert arm_of(KnnRules(control=0.0), Evidence(near={}), 0.0) == "fixed"


def test_the_task_is_that_of_the_tag() -> None:
    assert task_of({"show=weekly", "task=fallacy"}) == "fallacy"
    assert task_of({"show=weekly"}) == "any"
    assert task_of({"task=b", "task=a"}) == "a"
