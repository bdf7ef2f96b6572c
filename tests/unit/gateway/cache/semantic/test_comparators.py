"""Comparators: what counts as the same answer, in both directions."""

from __future__ import annotations

import json

import pytest

from gateway.cache.semantic.comparators import Different, Same, Unsure, compare, judged, label
from gateway.cache.semantic.free_text import UNMEASURED, Similarities

BAND = UNMEASURED
LONG = "The capital of France is Paris, which lies on the river Seine and has been the seat of government for ages."


def fallacies(*found: tuple[str, int, int]) -> str:
    return json.dumps({"fallacies": [{"class": kind, "span": {"start": a, "end": b}} for kind, a, b in found]})


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ('{"label": "yes", "score": 1}', '```json\n{"score": 1.0, "label": "Yes"}\n```'),
        ('["a", "b"]', '["b", "a"]'),
        ("42", "42.0"),
        ("1,000 km", "1000 km"),
        ("Paris.", "paris"),
        (fallacies(("ad_hominem", 0, 100)), fallacies(("ad_hominem", 10, 110))),
        (
            fallacies(("ad_hominem", 0, 100), ("slippery_slope", 200, 300)),
            fallacies(("slippery_slope", 200, 290), ("ad_hominem", 0, 90)),
        ),
    ],
)
def test_the_same_said_otherwise_is_the_same(stored: str, fresh: str) -> None:
    assert isinstance(compare(stored, fresh, band=BAND), Same)
    assert isinstance(compare(fresh, stored, band=BAND), Same)


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ('{"label": "yes"}', '{"label": "no"}'),
        ('{"label": "yes"}', '{"label": "yes", "also": 1}'),
        ('{"label": true}', '{"label": 1}'),
        ('["a"]', '["a", "a"]'),
        ("42", "43"),
        ("5 km", "5 miles"),
        ("Paris", "London"),
        ('{"label": "yes"}', "yes, certainly"),
        (fallacies(("ad_hominem", 0, 100)), fallacies(("ad_hominem", 60, 160))),
        (fallacies(("ad_hominem", 0, 100)), fallacies(("slippery_slope", 0, 100))),
        (fallacies(("ad_hominem", 0, 100)), fallacies()),
    ],
)
def test_another_answer_is_different(stored: str, fresh: str) -> None:
    assert isinstance(compare(stored, fresh, band=BAND), Different)
    assert isinstance(compare(fresh, stored, band=BAND), Different)


def test_long_texts_go_by_cosine_and_the_grey_band_is_unsure() -> None:
    other = LONG.replace("ages", "centuries")
    assert compare(LONG, other, band=BAND, similarity=0.97) == Same(by="free_text")
    assert compare(LONG, other, band=BAND, similarity=0.4) == Different(by="free_text")
    grey = compare(LONG, other, band=BAND, similarity=0.8)
    assert isinstance(grey, Unsure)
    assert 0 < label(grey) < 1


def test_near_texts_with_other_numbers_are_never_the_same() -> None:
    fresh = LONG + " It has 2 million people."
    assert isinstance(compare(LONG + " It has 5 million people.", fresh, band=BAND, similarity=0.99), Unsure)


def test_without_a_cosine_nobody_can_tell_about_long_texts() -> None:
    assert compare(LONG, LONG + " Indeed.", band=BAND) == Unsure(different=0.5)


async def test_a_judge_is_asked_about_the_unsure_only() -> None:
    asked: list[str] = []

    async def judge(question: str, stored: str, fresh: str) -> bool | None:
        asked.append(question)
        return {"q1": True, "q2": False}.get(question)

    unsure = Unsure(different=0.5)
    assert await judged(Same(by="json"), judge, question="q0", stored="a", fresh="a") == Same(by="json")
    assert await judged(unsure, judge, question="q1", stored="a", fresh="b") == Same(by="judge")
    assert await judged(unsure, judge, question="q2", stored="a", fresh="b") == Different(by="judge")
    assert await judged(unsure, judge, question="q3", stored="a", fresh="b") == unsure
    assert await judged(unsure, None, question="q4", stored="a", fresh="b") == unsure
    assert asked == ["q1", "q2", "q3"]


def test_the_free_text_cut_is_learned_from_answers_to_one_question_and_to_strangers() -> None:
    seen = Similarities()
    assert seen.band() == UNMEASURED
    for at in range(100):
        seen = seen.with_pair(0.8 + at / 1000, 0.1 + at / 200)
    band = seen.band()
    assert band.different == pytest.approx(0.8, abs=0.02)
    assert band.same == pytest.approx(0.8, abs=0.02)  # no stranger came above .6
    assert Similarities().with_pair(None, None) == Similarities()
