"""Every predictor of the table keeps its contract: bounded, of its own tenant, honest in form, and itself after a
restart."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.warmer.warmer_bench import START_S, event
from warmer.predictors import PREDICTORS
from warmer.types import PREDICTOR_NAMES, Event, PredictorName

DAY_S = 86_400.0


def week(*, new_share: float, seed: int = 5) -> Iterator[Event]:
    """Yield a busy week of sessions: transcripts and questions about them, questions asked again and questions asked
    once."""
    rng, at_s = random.Random(seed), START_S
    for number in range(4000):
        at_s += rng.expovariate(1 / 150)
        new = rng.random() < new_share
        topic = f"topic{number}" if new else f"topic{int(rng.paretovariate(0.8)) % 50}"
        like = replace(event(), session=f"s{number // 3}", question=f"what is {topic} about?")
        if number % 3 == 0:
            like = replace(like, kind="run", question="", attachment=topic, speakers=("ANN", "BOB"))
        elif number % 3 == 1:
            like = replace(like, question="What does ANN say?", attachment=topic, speakers=("ANN", "BOB"))
        yield event(f"{like.kind} {topic} {like.question}", at_s, like=like)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictions_are_few_own_and_in_order_and_their_chances_are_chances(name: PredictorName) -> None:
    predictor = PREDICTORS[name]("acme")
    said = 0
    for number, one in enumerate(week(new_share=0.3)):
        predictor.observe(one)
        if number % 40:
            continue
        found = predictor.predict(one.at_s + 1, {})
        said += len(found)
        assert len(found) <= 64
        assert [other.probability for other in found] == sorted((other.probability for other in found), reverse=True)
        for other in found:
            assert (other.tenant, other.predictor) == ("acme", name)
            assert 0.0 <= other.probability <= 1.0
            assert other.until_s > one.at_s
    assert said > 0 or name == "refresh_ahead"  # that one needs to be told what is fresh


@pytest.mark.parametrize("name", PREDICTORS)
def test_what_is_kept_does_not_grow_with_what_happened(name: PredictorName) -> None:
    predictor = PREDICTORS[name]("acme")
    for one in week(new_share=0.9):
        predictor.observe(one)
    size = len(predictor.dump())
    for one in week(new_share=0.9, seed=6):
        predictor.observe(replace(one, key=f"b {one.key}", session=f"b {one.session}", at_s=one.at_s + 8 * DAY_S))
    assert len(predictor.dump()) < 1.35 * size


@pytest.mark.parametrize("name", PREDICTORS)
def test_after_a_restart_it_says_the_same_and_what_cannot_be_read_changes_nothing(name: PredictorName) -> None:
    predictor, again = PREDICTORS[name]("acme"), PREDICTORS[name]("acme")
    last = event()
    for last in week(new_share=0.3):
        predictor.observe(last)
    fresh = {last.key: last.at_s + 40.0}
    again.restore(predictor.dump())
    expected = predictor.predict(last.at_s + 10, fresh)
    assert again.predict(last.at_s + 10, fresh) == expected
    for damaged in (b"", b"\x00", b"\xff\xff" + predictor.dump()[2:], predictor.dump()[:-1]):
        again.restore(damaged)
    assert again.dump() == predictor.dump()


def test_the_table_holds_every_name_but_announced() -> None:
    assert set(PREDICTORS) == set(PREDICTOR_NAMES) - {"announced"}
