"""How long a first token and a whole answer may take, cold and learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from router.deadlines import Deadlines, Limits, Measure
from router.types import ChatRequest, Deployment

NOTHING: Mapping[str, object] = {}


def request(size: int = 100, document: Mapping[str, object] = NOTHING) -> ChatRequest:
    return ChatRequest(
        dialect="chat", body=b"x" * size, document=document, requested_model="m", stream=True, include_usage=False
    )


def deployment(*, is_reasoning: bool = False) -> Deployment:
    return Deployment(
        id="d",
        group="g",
        provider="p",
        model="m",
        backend="openai_wire",
        api_base="",
        secret="",
        price=None,
        is_reasoning=is_reasoning,
    )


def learnt(seconds: float, *, measure: Measure = "first_token", count: int = 50) -> Deadlines:
    deadlines = Deadlines(Limits())
    for _ in range(count):
        deadlines.took(request(), deployment(), measure, seconds, 100.0)
    return deadlines


@pytest.mark.parametrize(
    ("is_reasoning", "document", "is_last", "expected_s"),
    [
        (False, {}, False, 10.0),
        (False, {}, True, 60.0),
        (True, {}, False, 60.0),
        (True, {}, True, 120.0),
        (False, {"reasoning_effort": "high"}, False, 60.0),
    ],
)
def test_a_cold_first_token_has_longer_where_there_is_nowhere_else_to_go(
    is_reasoning: bool, document: dict[str, object], is_last: bool, expected_s: float
) -> None:
    asked = request(document=document)
    deadlines = learnt(1.0, count=49)
    assert deadlines.first_token_s(asked, deployment(is_reasoning=is_reasoning), 100.0, is_last=is_last) == expected_s


@pytest.mark.parametrize(("p95_s", "expected_s"), [(0.1, 2.0), (1.0, 3.0), (5.0, 15.0), (100.0, 60.0)])
def test_a_learnt_first_token_is_thrice_the_p95_within_its_bounds(p95_s: float, expected_s: float) -> None:
    assert learnt(p95_s).first_token_s(request(), deployment(), 100.0, is_last=False) == expected_s


@pytest.mark.parametrize(
    ("p95_s", "is_last", "expected_s"), [(1.0, False, 10.0), (30.0, False, 90.0), (1.0, True, 120.0)]
)
def test_a_whole_answer_has_thrice_the_p95_of_total_time(p95_s: float, is_last: bool, expected_s: float) -> None:
    assert learnt(p95_s, measure="whole").whole_s(request(), deployment(), 100.0, is_last=is_last) == expected_s


def test_a_cold_whole_answer_has_a_minute() -> None:
    assert learnt(1.0, measure="whole", count=49).whole_s(request(), deployment(), 100.0, is_last=False) == 60.0


@pytest.mark.parametrize("is_last", [True, False])
def test_what_a_deployment_states_holds_whatever_was_learnt(is_last: bool) -> None:
    stated = replace(deployment(is_reasoning=True), timeout_s=7.0, stream_timeout_s=0.5)
    for deadlines in (learnt(100.0), learnt(0.1, count=1)):
        assert deadlines.first_token_s(request(), stated, 100.0, is_last=is_last) == 0.5
        assert deadlines.whole_s(request(), stated, 100.0, is_last=is_last) == 7.0


def test_long_prompts_are_measured_apart() -> None:
    assert learnt(1.0).first_token_s(request(size=50_000), deployment(), 100.0, is_last=False) == 10.0
