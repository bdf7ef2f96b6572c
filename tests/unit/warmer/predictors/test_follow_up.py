"""What usually comes next in a session, with the names of the transcript's own speakers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.warmer.predictors.streams import about, posted
from tests.unit.warmer.warmer_bench import START_S, event
from warmer.predictors.follow_up import HORIZON_S, FollowUp
from warmer.slots import abstract, fill
from warmer.types import Known, Written


def debates(n: int = 20) -> FollowUp:
    """Return what is learnt from debates of which two in three draw the same question about who speaks most."""
    found = FollowUp("acme")
    for number in range(n):
        at_s = START_S + number * 3600
        run = posted(f"s{number}", f"t{number}", (f"ANN{number}", "BOB"), at_s)
        found.observe(run)
        if number % 3:
            found.observe(about(run, f"Which fallacies did ANN{number} commit?", at_s + 60))
    return found


def test_after_a_transcript_its_usual_question_is_expected_of_its_own_speaker() -> None:
    found, now_s = debates(), START_S + 10**6
    found.observe(posted("new", "t new", ("CAROL", "DAN"), now_s))
    predictions = [one for one in found.predict(now_s + 1, {}) if one.level == "answer"]
    (one,) = predictions
    assert isinstance(one.recipe, Written)
    assert one.recipe.question == "Which fallacies did CAROL commit?"
    assert one.recipe.like == "Which fallacies did ANN19 commit? t19"
    assert (one.recipe.about, one.attachment) == ("run t new", "t new")
    assert one.probability == pytest.approx(13 / 22)  # this posting counts already


def test_any_question_about_it_is_expected_as_a_prefix() -> None:
    found, now_s = debates(), START_S + 10**6
    found.observe(posted("new", "t new", ("CAROL", "DAN"), now_s))
    (prefix,) = [one for one in found.predict(now_s + 1, {}) if one.level == "prefix"]
    assert prefix.attachment == "t new"
    assert prefix.probability == pytest.approx(13 / 22)  # this posting counts already


def test_what_was_asked_already_is_not_expected_again_and_a_session_ends() -> None:
    found, now_s = debates(), START_S + 10**6
    run = posted("new", "t new", ("CAROL", "DAN"), now_s)
    found.observe(run)
    found.observe(about(run, "Which fallacies did CAROL commit?", now_s + 10))
    assert [one for one in found.predict(now_s + 11, {}) if one.level == "answer"] == []
    found.observe(posted("newer", "t newer", ("EVE",), now_s + 20))
    assert found.predict(now_s + 21, {}) != []
    assert found.predict(now_s + 21 + HORIZON_S, {}) == []


def test_after_a_question_its_usual_next_one_is_expected_unless_that_is_fresh() -> None:
    found = FollowUp("acme")
    for number in range(10):
        like = replace(event(), session=f"s{number}")
        found.observe(event("first", START_S + number * 5000, like=like))
        found.observe(event("second", START_S + number * 5000 + 30, like=like))
    now_s = START_S + 10**6
    found.observe(event("first", now_s, like=replace(event(), session="new")))
    (one,) = found.predict(now_s + 1, {})
    assert one.recipe == Known(key="second")
    assert one.probability == pytest.approx(10 / 12)
    assert found.predict(now_s + 1, {"second": now_s + 100}) == []


def test_a_retry_is_no_follow_up() -> None:
    found = FollowUp("acme")
    for number in range(20):
        like = replace(event(), session=f"s{number // 2}")
        found.observe(event("same", START_S + number, like=like))
    assert found.predict(START_S + 21, {}) == []


def test_memory_is_bounded_and_what_was_learnt_survives_as_bytes() -> None:
    found = debates()
    for number in range(4000):
        found.observe(event(f"k{number}", START_S + 10**6 + number, like=replace(event(), session=f"x{number % 900}")))
    size = len(found.dump())
    for number in range(4000):
        found.observe(event(f"l{number}", START_S + 10**6 + 4000 + number, like=replace(event(), session=f"y{number}")))
    assert len(found.dump()) < 1.3 * size
    again = FollowUp("acme")
    again.restore(found.dump())
    at_s = START_S + 10**6 + 8000
    assert again.predict(at_s, {}) == found.predict(at_s, {})


def test_names_are_replaced_as_whole_words_and_come_back() -> None:
    template = abstract("What does BUSH say of BUSHES, and GORE?", ("BUSH", "GORE"))
    assert template == "What does \u27e80\u27e9 say of BUSHES, and \u27e81\u27e9?"
    assert fill(template, ("KERRY", "CHENEY")) == "What does KERRY say of BUSHES, and CHENEY?"
    assert fill(template, ("KERRY",)) is None
