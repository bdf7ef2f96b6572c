"""The class's state: a fold that every worker repeats, and bytes that carry it."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.cache.semantic import answers, drift, logistic
from gateway.cache.semantic.events import (
    AskedTwice,
    Counted,
    EventUnreadable,
    Labelled,
    Reopened,
    decode_event,
    encode_event,
)
from gateway.cache.semantic.features import NAMES, PRIOR
from gateway.cache.semantic.logistic import Observation
from gateway.cache.semantic.snapshot import SnapshotUnreadable, decode_state, encode_state
from gateway.cache.semantic.state import begin, fold
from policies.rules import SemanticRules
from tests.unit.gateway.cache.semantic.labels import Traffic, pair

RULES = SemanticRules()


@pytest.fixture(scope="module")
def lived() -> Traffic:
    traffic = Traffic(noise=0.01)
    traffic.ask(400)
    return traffic


def test_the_same_events_in_the_same_order_give_the_same_bytes(lived: Traffic) -> None:
    state = begin(PRIOR)
    for event in lived.events:
        state = fold(state, decode_event(encode_event(event)), RULES)
    assert encode_state(state) == encode_state(lived.state)


def test_a_snapshot_goes_on_where_the_state_stood(lived: Traffic) -> None:
    half = len(lived.events) // 2
    state = begin(PRIOR)
    for event in lived.events[:half]:
        state = fold(state, event, RULES)
    state = decode_state(encode_state(state), features=len(NAMES))
    for event in lived.events[half:]:
        state = fold(state, event, RULES)
    assert encode_state(state) == encode_state(lived.state)


def test_folding_changes_no_earlier_state(lived: Traffic) -> None:
    before = encode_state(lived.state)
    for event in lived.events[:50]:
        fold(lived.state, event, RULES)
    assert encode_state(lived.state) == before


@pytest.mark.parametrize("event", [AskedTwice(1.0, 5.0, 7, 0.9, 0.1), Counted(3, (0, 1), 5, 1.0), Reopened(2.0)])
def test_events_survive_their_bytes(event: AskedTwice | Counted | Reopened) -> None:
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("data", [b"", b"\xc1", b"nonsense"])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(EventUnreadable):
        decode_event(data)
    with pytest.raises(SnapshotUnreadable):
        decode_state(data, features=len(NAMES))


def test_a_snapshot_of_a_model_with_other_features_is_refused(lived: Traffic) -> None:
    with pytest.raises(SnapshotUnreadable):
        decode_state(encode_state(lived.state), features=len(NAMES) + 1)


def test_events_of_another_version_change_nothing(lived: Traffic) -> None:
    label = Labelled("a", "q", (1.0, 2.0), 3.0, 0.0, False, 1.0)
    assert encode_state(fold(lived.state, label, RULES)) == encode_state(lived.state)
    assert encode_state(fold(lived.state, Counted(1, (1,), 1, 1.0), RULES)) == encode_state(lived.state)


def test_the_model_learns_which_pairs_are_right_in_spite_of_comparators_that_err() -> None:
    draw = np.random.default_rng(3)
    model = logistic.untaught(PRIOR)
    for _ in range(1500):
        near = draw.random() < 0.5
        features = np.array(pair(0.98 if near else 0.8).features)
        model = logistic.learn(model, features, float(near and draw.random() > 0.03), noise=0.03, false_same=0.01)
    assert logistic.sigmoid(logistic.log_odds(model, np.array(pair(0.98).features))) > 0.97
    assert logistic.sigmoid(logistic.log_odds(model, np.array(pair(0.8).features))) < 0.03


def test_an_answer_without_labels_is_worth_what_the_pool_says() -> None:
    assert logistic.refine(1.25, ()) == 1.25


def test_an_answers_own_labels_move_it_and_more_of_them_more() -> None:
    bad = Observation(log_odds=2.0, right=0.0)
    once, often = logistic.refine(2.0, [bad]), logistic.refine(2.0, [bad] * 8)
    assert often < once < 2.0
    assert logistic.refine(2.0, [Observation(log_odds=2.0, right=1.0)] * 8) > 2.0


def test_answers_are_bounded_and_the_one_labelled_longest_ago_goes_first() -> None:
    known = {f"a{at}": answers.AnswerEvidence() for at in range(answers.MAX_ANSWERS)}
    after = answers.remember(known, "new", question="q", log_odds=1.0, right=1.0)
    assert len(after) == answers.MAX_ANSWERS
    assert "a0" not in after
    assert "new" in after


def test_the_alarm_sounds_about_when_it_is_said_to() -> None:
    draw = np.random.default_rng(4)
    expected = drift.delay_labels(allowed=0.02, floor=0.01)
    took = []
    for _ in range(30):
        level, labels = 0.0, 0
        while not drift.is_alarm(level):
            level = drift.step(level, float(draw.random() < 0.07), allowed=0.02, floor=0.01)
            labels += 1
        took.append(labels)
    assert 0.5 * expected < np.mean(took) < 1.5 * expected


def test_the_alarm_is_silent_at_the_rate_that_is_allowed() -> None:
    draw = np.random.default_rng(5)
    level, alarms = 0.0, 0
    for _ in range(10_000):
        level = drift.step(level, float(draw.random() < 0.03), allowed=0.02, floor=0.01)
        if drift.is_alarm(level):
            alarms, level = alarms + 1, 0.0
    assert alarms <= 10_000 / drift.FALSE_ALARM_LABELS
