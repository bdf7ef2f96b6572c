"""Who may spend: stops when not precise enough, shows it is right again for nothing, then is tried a few times."""

from __future__ import annotations

from warmer.judge import PROBES_A_DAY, PROBES_AT_ONCE, Judge, new_judge

DAY_S = 86_400.0
NOON_S = 100 * DAY_S


def judge(*, tried: int = 0, tried_useful: int = 0, seen: int = 0, seen_useful: int = 0) -> Judge:
    found = Judge()
    found.wanted(0.5)
    found.verdict(NOON_S)
    for place in range(tried):
        found.outcome(useful=place < tried_useful, was_warmed=True)
    for place in range(seen):
        found.outcome(useful=place < seen_useful, was_warmed=False)
    return found


def test_without_outcomes_it_is_only_watched_and_an_announcer_is_believed() -> None:
    assert judge().verdict(NOON_S) == "watch"
    announcer = new_judge(is_announced=True)
    announcer.wanted(0.5)
    assert announcer.verdict(NOON_S) == "run"


def test_a_precise_one_is_tried_first_and_then_runs() -> None:
    assert judge(seen=8, seen_useful=8).verdict(NOON_S) == "probe"
    assert judge(seen=8, seen_useful=8, tried=4, tried_useful=4).verdict(NOON_S) == "run"


def test_it_stops_when_the_lower_bound_of_its_precision_falls_under_the_price_ratio() -> None:
    found = judge(tried=20, tried_useful=20)
    assert found.verdict(NOON_S) == "run"
    stopped_after = 0
    while found.verdict(NOON_S) == "run":
        found.outcome(useful=False, was_warmed=True)
        stopped_after += 1
    low, high = found.precision().bounds
    assert low < 0.5 < high
    assert stopped_after < 20


def test_probes_are_few_a_day_and_come_again_the_next_day() -> None:
    found = judge(seen=4, seen_useful=3)
    probes = 0
    while found.verdict(NOON_S) == "probe":
        found.probed()
        probes += 1
        found.outcome(useful=probes % 2 == 0, was_warmed=True)
    assert probes == PROBES_A_DAY
    assert found.verdict(NOON_S + DAY_S) == "probe"


def test_probes_of_which_nobody_knows_yet_are_three_at_most() -> None:
    found = judge(seen=4, seen_useful=3)
    for _ in range(PROBES_AT_ONCE):
        assert found.verdict(NOON_S) == "probe"
        found.probed()
    assert found.verdict(NOON_S) == "watch"
    found.outcome(useful=True, was_warmed=True)
    assert found.verdict(NOON_S) == "probe"


def test_one_whose_warms_failed_stays_stopped_whatever_is_watched_until_that_is_some_days_ago() -> None:
    found = judge(tried=20, tried_useful=2, seen=100, seen_useful=95)
    assert found.verdict(NOON_S) == "watch"
    assert found.verdict(NOON_S + DAY_S) == "watch"
    assert found.verdict(NOON_S + 12 * DAY_S) == "probe"


def test_at_full_price_no_precision_is_enough() -> None:
    found = Judge()
    found.wanted(1.0)
    for _ in range(100):
        found.outcome(useful=True, was_warmed=True)
    assert found.verdict(NOON_S) == "watch"
