"""What is asked at the same time every day or every week."""

from __future__ import annotations

import pytest

from tests.unit.warmer.predictors.streams import about, posted
from tests.unit.warmer.warmer_bench import START_S, event
from warmer.predictors.schedule import DAY_S, WEEK_S, Schedule, recurrence
from warmer.types import Known, Written

NINE_S = 9 * 3600.0


def every(period_s: float, n: int) -> Schedule:
    found = Schedule("acme")
    found.observe(event("first of all", START_S))
    for number in range(n):
        found.observe(event("digest", START_S + number * period_s + NINE_S + 60 * (number % 3)))
    return found


@pytest.mark.parametrize(("period_s", "n"), [(DAY_S, 5), (WEEK_S, 4)])
def test_what_recurs_is_expected_shortly_before_its_time_and_not_at_others(period_s: float, n: int) -> None:
    found = every(period_s, n)
    due_s = START_S + n * period_s + NINE_S
    (one,) = found.predict(due_s - 300, {})
    assert one.recipe == Known(key="digest")
    assert one.due_at_s == pytest.approx(due_s, abs=120)
    assert one.probability == pytest.approx(n / (n + 1))
    assert found.predict(due_s - 5 * 3600, {}) == []
    assert found.predict(due_s - 300, {"digest": due_s + 3600}) == []


def test_what_came_at_various_times_is_not_recurring() -> None:
    times = [START_S + day * DAY_S + hour * 3600 for day, hour in enumerate((1, 9, 15, 4, 20, 12))]
    chance, _ = recurrence(times, START_S + 6 * DAY_S, period_s=DAY_S, first_s=START_S)
    assert chance == 0.0


def test_days_left_out_lower_the_chance() -> None:
    times = [START_S + day * DAY_S for day in (0, 2, 5, 9)]
    chance, due_s = recurrence(times, START_S + 9.5 * DAY_S, period_s=DAY_S, first_s=START_S)
    assert chance == pytest.approx(4 / 11)
    assert due_s == START_S + 10 * DAY_S


def test_a_question_asked_each_morning_of_another_transcript_is_expected_of_the_one_posted_last() -> None:
    found = Schedule("acme")
    for day in range(4):
        run = posted(f"s{day}", f"t{day}", ("ANN",), START_S + day * DAY_S + 3600)
        found.observe(run)
        found.observe(about(run, "Write the digest", START_S + day * DAY_S + NINE_S))
    last = posted("s4", "t4", ("ANN",), START_S + 4 * DAY_S + 3600)
    found.observe(last)
    due = found.predict(START_S + 4 * DAY_S + NINE_S - 60, {})
    (one,) = [one for one in due if isinstance(one.recipe, Written)]
    assert one.recipe == Written(like="Write the digest t3", question="Write the digest", about="run t4")
    assert one.attachment == "t4"


def test_memory_is_bounded_and_what_was_learnt_survives_as_bytes() -> None:
    found = every(DAY_S, 5)
    for number in range(3000):
        found.observe(event(f"k{number}", START_S + 4.5 * DAY_S + number))
    assert len(found.dump()) < 120_000
    again = Schedule("acme")
    again.restore(found.dump())
    due_s = START_S + 5 * DAY_S + NINE_S - 300
    assert again.predict(due_s, {}) == found.predict(due_s, {})
