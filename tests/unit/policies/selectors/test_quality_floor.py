"""The cheapest that reaches the floor, and the shuffle it is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from policies.evidence import Evidence, Labels
from policies.ports import Demand
from policies.quality import predict
from policies.rules import QualityRules
from policies.selectors import control_arm, quality_floor
from tests.unit.policies.examples import card, price

CARDS = (card("large", price(5, 5)), card("small", price(1, 1)), card("middle", price(2, 2)), card("free"))


def demand(task: Mapping[str, Labels], *, shares: Mapping[str, float] | None = None, draw: float = 0.5) -> Demand:
    prediction = predict(
        tuple(one.group for one in CARDS),
        rules=QualityRules(floor=0.95),
        reference="large",
        priors={},
        task="any",
        evidence=Evidence(task=task),
        use_neighbours=False,
    )
    return Demand(input_tokens=1000, max_output_tokens=1000, prediction=prediction, shares=shares or {}, draw=draw)


GOOD, BAD = Labels(1000, 990), Labels(1000, 700)


def test_those_that_reach_the_floor_are_ordered_by_cost_and_the_reference_is_one_of_them() -> None:
    ordering = quality_floor.order(CARDS, demand({"small": BAD, "middle": GOOD}))
    assert [group for group, _ in ordering.ranked] == ["middle", "large"]
    assert {r.candidate: r.code for r in ordering.rejected} == {"small": "below_floor", "free": "no_price"}


def test_a_refusal_says_what_is_known_and_what_is_wanted() -> None:
    ordering = quality_floor.order(CARDS, demand({"small": BAD}))
    details = {rejection.candidate: rejection.detail for rejection in ordering.rejected}
    assert details["small"] == "the quality of 'small' here is at least 0.681, and this route wants 0.950"
    assert details["middle"] == "the quality of 'middle' here is unknown, and this route wants 0.950"


def test_the_shuffle_draws_by_the_learned_arms_shares_but_nobody_never() -> None:
    shares = {"small": 0.75, "large": 0.25}
    drawn = Counter(
        control_arm.order(CARDS, demand({}, shares=shares, draw=at / 1100)).ranked[0][0] for at in range(1100)
    )
    assert drawn["small"] > 700
    assert drawn["large"] > 200
    assert 90 < drawn["middle"] < 110
    assert "free" not in drawn


def test_after_the_one_that_was_drawn_only_those_that_reach_the_floor_follow() -> None:
    ordering = control_arm.order(CARDS, demand({"middle": GOOD, "small": BAD}, shares={"small": 1.0}, draw=0.0))
    assert [group for group, _ in ordering.ranked] == ["small", "middle", "large"]
    fell_on_large = control_arm.order(CARDS, demand({"small": BAD}, shares={"large": 1.0}, draw=0.999))
    assert [group for group, _ in fell_on_large.ranked] == ["large"]
    assert {r.candidate for r in fell_on_large.rejected} == {"small", "middle", "free"}
