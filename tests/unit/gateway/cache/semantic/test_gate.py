"""The gate: it watches, serves when the bound is proven, goes back when it is not, and never loosens without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.cache.semantic import cuts
from gateway.cache.semantic.events import AskedTwice, Labelled, Reopened
from gateway.cache.semantic.features import PRIOR, is_refused
from gateway.cache.semantic.figures import figures_of
from gateway.cache.semantic.gate import (
    FIRST_HITS,
    SHARE_WHILE_FEW,
    Serve,
    Withhold,
    decide,
    floor_share,
    sampling_share,
    score,
)
from gateway.cache.semantic.state import begin, is_frozen
from policies.rules import SemanticRules
from tests.unit.gateway.cache.semantic.labels import COST, Traffic, pair

RULES = SemanticRules()


@pytest.fixture(scope="module")
def opened() -> Traffic:
    """A class that has come to serve; tests copy it."""
    traffic = Traffic()
    traffic.ask(2000)
    return traffic


def copied(traffic: Traffic, **changes: object) -> Traffic:
    return replace(traffic, events=[], hits=0, wrong_hits=0, **changes)  # type: ignore[arg-type]


def test_a_new_class_serves_nothing_and_learns_from_every_miss() -> None:
    decision = decide(begin(PRIOR), pair(1.0), RULES, at_s=0.0, draw=0.99)
    assert isinstance(decision, Withhold)
    assert decision.reason == "observing"


def test_a_class_whose_near_pairs_are_right_comes_to_serve_them_and_only_them(opened: Traffic) -> None:
    assert opened.state.mode == "serving"
    assert opened.hits > 200
    assert opened.wrong_hits / opened.hits < 0.02
    assert isinstance(decide(opened.state, pair(0.99), RULES, at_s=0.0, draw=0.5), Serve)
    far = decide(opened.state, pair(0.76), RULES, at_s=0.0, draw=0.5)
    assert isinstance(far, Withhold)
    assert far.reason == "below_cut"


def test_it_does_not_open_before_the_labels_that_a_test_needs() -> None:
    traffic = Traffic()
    while traffic.state.cut is None:
        traffic.ask(10)
    assert traffic.state.windows.current.labels.sum() >= 149


def test_a_class_whose_near_pairs_are_wrong_too_often_is_never_served() -> None:
    traffic = Traffic(wrong_near=0.06)
    traffic.ask(2000)
    assert traffic.hits == 0


def test_comparators_that_err_delay_the_opening_but_do_not_prevent_it() -> None:
    traffic = Traffic(rules=SemanticRules(wrong_per_hit=0.05), noise=0.03)
    traffic.ask(3500)
    assert traffic.state.mode == "serving"
    assert traffic.state.totals.floor_checks > 300
    assert traffic.wrong_hits / traffic.hits < 0.05


def test_the_bound_on_requests_binds_where_hits_are_many() -> None:
    """Half of the requests are near pairs, 2 % of which are wrong: 1 % of requests, though 20 % of hits might be."""
    traffic = Traffic(rules=SemanticRules(wrong_per_hit=0.2, wrong_per_request=0.002), wrong_near=0.02)
    traffic.ask(2000)
    assert traffic.wrong_hits / 2000 < 0.002


def test_all_of_the_first_hits_are_asked_again_and_then_a_sample(opened: Traffic) -> None:
    assert sampling_share(replace(opened.state, hit_labels=FIRST_HITS - 1), RULES) == 1.0
    after = replace(opened.state, hit_labels=FIRST_HITS)
    assert sampling_share(after, RULES) == SHARE_WHILE_FEW
    window = after.windows.current
    many = replace(after, windows=replace(after.windows, current=replace(window, labels=window.labels + 1000)))
    assert sampling_share(many, RULES) == RULES.sample


def test_hits_that_turn_wrong_close_the_class_within_the_stated_delay(opened: Traffic) -> None:
    traffic = copied(opened, wrong_near=0.5, rules=replace(RULES, sample=0.2))
    served = 0
    while traffic.state.cut is not None:
        traffic.ask(10)
        served = traffic.hits
        assert served < 2000
    assert served < figures_of(opened.state, traffic.rules, at_s=0.0).detection_delay_hits


def test_a_pair_verified_wrong_is_not_offered_again(opened: Traffic) -> None:
    traffic = copied(opened)
    asked = pair(0.99, answer="fresh", question="q")
    assert isinstance(decide(traffic.state, asked, RULES, at_s=0.0, draw=0.5), Serve)
    odds = score(traffic.state, asked)
    traffic.tell(Labelled("fresh", "q", asked.features, odds, 1.0, True, 0.0))
    again = decide(traffic.state, asked, RULES, at_s=0.0, draw=0.5)
    assert isinstance(again, Withhold)
    assert again.reason == "denied"


def test_an_answer_that_was_wrong_before_must_be_nearer_than_others(opened: Traffic) -> None:
    traffic = copied(opened)
    before = score(traffic.state, pair(0.97, answer="bad"))
    for at in range(4):
        asked = pair(0.97, answer="bad", question=f"b{at}")
        traffic.tell(Labelled("bad", f"b{at}", asked.features, before, 1.0, False, 0.0))
    assert score(traffic.state, pair(0.97, answer="bad")) < score(traffic.state, pair(0.97, answer="other")) - 0.5


def test_a_verified_paraphrase_is_an_alias_of_the_answer(opened: Traffic) -> None:
    traffic = copied(opened)
    asked = pair(0.99, answer="good", question="again")
    traffic.tell(Labelled("good", "again", asked.features, 4.0, 0.0, False, 0.0))
    assert traffic.state.answers["good"].aliases == ("again",)
    traffic.tell(Labelled("good", "again", asked.features, 4.0, 1.0, False, 0.0))
    after = traffic.state.answers["good"]
    assert (after.aliases, after.denied) == ((), ("again",))


def test_a_spent_budget_samples_nothing_and_never_opens_a_class() -> None:
    traffic = Traffic(rules=SemanticRules(label_budget_nanousd_day=5 * COST))
    traffic.ask(1000)
    assert traffic.state.totals.label_cost_nanousd <= 6 * COST
    assert traffic.hits == 0


def test_no_budget_is_a_spent_budget_on_every_day() -> None:
    none = SemanticRules(label_budget_nanousd_day=0)
    assert is_frozen(begin(PRIOR), none, at_s=0.0)
    assert is_frozen(begin(PRIOR), none, at_s=1e9)


def test_the_budget_is_a_days_and_late_events_count_for_today(opened: Traffic) -> None:
    traffic = copied(opened, rules=SemanticRules(label_budget_nanousd_day=2 * COST))
    today = 86_400.0 * 900
    traffic.tell(AskedTwice(0.0, today, COST))
    assert not is_frozen(traffic.state, traffic.rules, at_s=today)
    traffic.tell(AskedTwice(0.0, today - 86_400.0, COST))
    assert is_frozen(traffic.state, traffic.rules, at_s=today)
    assert not is_frozen(traffic.state, traffic.rules, at_s=today + 86_400.0)


def test_a_spent_budget_lets_a_serving_class_tighten_but_not_loosen(opened: Traffic) -> None:
    assert opened.state.cut is not None
    strict = replace(opened.state, cut=opened.state.cut + 2)
    traffic = copied(opened, state=strict, rules=SemanticRules(label_budget_nanousd_day=0))
    traffic.ask(500)
    assert traffic.state.cut is None or traffic.state.cut >= strict.cut  # type: ignore[operator]


def test_starting_anew_forgets_the_evidence_and_the_answers(opened: Traffic) -> None:
    traffic = copied(opened)
    traffic.tell(Reopened(1e6))
    assert traffic.state.mode == "observe"
    assert traffic.state.windows.current.labels.sum() == 0
    assert traffic.state.answers == {}


def test_the_same_question_is_asked_twice_more_often_while_the_noise_is_unmeasured(opened: Traffic) -> None:
    assert floor_share(begin(PRIOR), RULES) == 1.0
    measured = replace(opened.state.floor.current, labels=5000, wrong=5.0)
    known = replace(opened.state, floor=replace(opened.state.floor, current=measured))
    assert floor_share(known, RULES) == 0.01
    assert floor_share(replace(known, cut=None), RULES) == 0.1


def test_every_figure_is_the_states(opened: Traffic) -> None:
    figures = figures_of(opened.state, RULES, at_s=opened.asked * 10.0)
    assert figures.mode == "serving"
    assert figures.hits == opened.hits
    assert figures.requests == opened.asked
    assert figures.wrong_per_hit <= figures.wrong_per_hit_upper <= 0.02 + 1e-3
    assert figures.net_saved_nanousd == COST * figures.hits - figures.label_cost_nanousd
    assert figures.cut is not None
    assert 0.5 <= figures.cut < 1


def test_hopeless_pairs_do_not_push_good_labels_out_of_the_window() -> None:
    windows = cuts.empty()
    for _ in range(100):
        windows = cuts.with_label(windows, 5.0, 0.0, is_new_pair=True)
    for _ in range(2 * cuts.WINDOW_LABELS):
        windows = cuts.with_label(windows, 0.1, 1.0, is_new_pair=True)
    assert windows.current.labels[-1] + windows.current.labels[-2] == 100


def test_a_window_ends_and_the_half_filled_next_one_takes_its_place() -> None:
    windows = cuts.empty()
    for at in range(cuts.WINDOW_LABELS):
        windows = cuts.with_label(windows, 5.0, float(at < 1000), is_new_pair=True)
    assert windows.current.labels.sum() == pytest.approx(cuts.WINDOW_LABELS / 2, abs=2)
    assert windows.current.wrong.sum() == 0
    assert np.all(windows.following.labels == 0)


@pytest.mark.parametrize(
    ("failed", "is_final"), [((), False), (("wording",), False), (("wording", "names"), True), (("polarity",), True)]
)
def test_some_guards_are_final_and_the_model_weighs_the_others(failed: tuple[str, ...], is_final: bool) -> None:
    assert is_refused(failed) is is_final
