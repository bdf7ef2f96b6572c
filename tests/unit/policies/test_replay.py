from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from policies.decide import choose, match
from policies.model import CacheRules, Match, Plan, Policy, View
from policies.narrowing import Cut, Headroom
from policies.prices import Price
from policies.replay import Recorded, below_floor, decide_again, differences, lost_hit
from policies.replay_report import Replay
from policies.replay_tally import SHOWN, ReplayTally
from policies.rules import BudgetRules, KnnRules, QualityRules
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, policy, price

CARDS = catalogue(card("a", price(1, 2)), card("b", price(10, 20)), card("c", price(5, 5)))
VIEW = View(catalogue=CARDS, draw=0.25)
LIVE = policy(replace(ROUTE, candidates=("a", "b"), fallbacks=("c",)))
COSTS = {id(CARDS["a"].price): 100, id(CARDS["b"].price): 1000, id(CARDS["c"].price): 500}


def cost_at(found: Price | None) -> int | None:
    return None if found is None else COSTS[id(found)]


def recorded(number: int = 0, *, under: Policy = LIVE, **changed: object) -> Recorded:
    """A request that `under` sent to its first model, for 100 nano-dollars, in a tenth of a second."""
    made = choose(match(under, FACTS), VIEW)
    assert isinstance(made, Plan)
    entry = Recorded(
        request_id=f"r{number}",
        at=1_700_000_000.0 + number,
        key_id="k",
        policy=under.name,
        policy_version=under.version,
        route=made.route,
        facts=FACTS,
        view=VIEW,
        candidates=made.candidates,
        output_cap=made.max_output_tokens,
        reason=made.reason,
        rejected=made.rejected,
        cache="miss",
        cache_key="key",
        age_s=0.0,
        routed_model=made.candidates[0],
        spent_nanousd=100,
        cost_nanousd=100,
        cost_at=cost_at,
        total_s=0.1,
        first_token_s=0.05,
        is_ok=True,
    )
    return msgspec.structs.replace(entry, **changed)


def hit(**changed: object) -> Recorded:
    served = msgspec.structs.replace(recorded(), view=None, candidates=(), cache="hit", age_s=10.0, spent_nanousd=0)
    return msgspec.structs.replace(served, **changed)


def replayed(new: Policy, *entries: Recorded) -> Replay:
    tally = ReplayTally(new, window_of=lambda rule, at: str(int(at // 86_400)), policy_then=lambda _: LIVE)
    for entry in entries:
        tally.add(entry)
    return tally.result()


def with_route(**changed: object) -> Policy:
    route = replace(LIVE.routes[0], **changed)  # type: ignore[arg-type]
    return replace(LIVE, routes=(route,), version="new")


def test_a_decision_is_repeated_from_its_record() -> None:
    assert differences(recorded(), decide_again(recorded(), LIVE)) == ()


@pytest.mark.parametrize(
    ("tampered", "named"),
    [
        ({"view": msgspec.structs.replace(VIEW, unhealthy=frozenset({"a"}))}, {"candidates", "reason", "rejected"}),
        ({"candidates": ("b",)}, {"candidates"}),
        ({"reason": "else"}, {"reason"}),
        ({"route": "other"}, {"route"}),
        ({"output_cap": 7}, {"output_cap"}),
        (
            {"facts": msgspec.structs.replace(FACTS, allowed_models=frozenset({"b"}))},
            {"candidates", "reason", "rejected"},
        ),
    ],
)
def test_a_record_that_is_off_by_anything_is_no_repetition(tampered: dict[str, object], named: set[str]) -> None:
    entry = recorded(**tampered)  # type: ignore[arg-type]
    assert {line.partition(":")[0] for line in differences(entry, decide_again(entry, LIVE))} == named


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"deadline_s": 5.0}, ""),
        ({"epoch": 1}, "changed key"),
        ({"name": "renamed"}, "changed key"),
        ({"cache": CacheRules(normalise=("clock_in_system",))}, "changed key"),
        ({"cache": CacheRules(exact_ttl_s=5.0)}, "expired"),
        ({"cache": CacheRules(exact_ttl_s=0.0)}, "cache off"),
        ({"candidates": ("b",), "fallbacks": ()}, "model not allowed"),
    ],
)
def test_a_hit_is_lost_by_what_its_key_or_its_rules_no_longer_allow(changed: dict[str, object], why: str) -> None:
    entry = hit()
    again = decide_again(entry, with_route(**changed))
    assert lost_hit(entry, LIVE.routes[0], again) == why
    assert lost_hit(recorded(), LIVE.routes[0], again) == ""


def test_a_changed_key_is_lost_once_for_it_is_filled_again() -> None:
    found = replayed(with_route(epoch=1), recorded(), hit(), hit(), hit(cache_key="other"))
    assert dict(found.lost_hits)["changed key"] == 2
    assert (found.kept_hits, found.lost_hits_nanousd) == (1, 200)


def test_shares_money_and_latency_are_given_then_and_now() -> None:
    slow = recorded(2, candidates=("b",), routed_model="b", cost_nanousd=900, spent_nanousd=900, total_s=2.0)
    found = replayed(with_route(candidates=("b",)), *(recorded(number) for number in range(9)), slow, slow, slow)
    (row,) = found.routes
    assert (row.then.models, row.now.models) == ({"a": 9, "b": 3}, {"b": 12})
    assert (row.then.cost_nanousd, row.now.cost_nanousd) == (9 * 100 + 3 * 900, 9 * 1000 + 3 * 900)
    assert (row.then.p50_s, row.then.p95_s, row.now.p50_s) == (0.1, 2.0, 2.0)
    assert found.changed == 9


def test_the_most_changed_decisions_come_first_and_are_twenty_at_most() -> None:
    entries = [recorded(number, cost_nanousd=number, spent_nanousd=number) for number in range(50)]
    found = replayed(with_route(candidates=("b",)), *entries)
    assert [change.request_id for change in found.most_changed] == [f"r{number}" for number in range(SHOWN)]
    assert (found.most_changed[0].model_then, found.most_changed[0].model_now) == ("a", "b")
    assert found.most_changed[0].reason_now == "fixed:b"


def test_a_budget_refuses_what_it_has_no_room_for_in_each_window() -> None:
    rule = BudgetRules(scope="tenant", limit_nanousd=250, window="day")
    new = replace(LIVE, budgets=(rule,), version="new")
    found = replayed(new, *(recorded(number) for number in range(4)), *(recorded(90_000 + n) for n in range(3)))
    (row,) = found.refusals
    assert (row.requests, row.holders) == (3, 1)
    assert found.routes[0].now.cost_nanousd == 400


def test_a_plan_below_the_floor_is_a_violation_and_the_control_arm_is_none() -> None:
    priors = {"a": {"any": 0.5}, "b": {"any": 0.9}}
    new = replace(
        with_route(quality=QualityRules(floor=0.9), knn=KnnRules(control=0.1), selector="quality_floor"),
        reference="b",
        quality_priors=priors,
    )
    assert replayed(new, recorded()).violation_count == 0  # the selector takes b
    again = decide_again(recorded(), new)
    assert again.model == "b"
    assert isinstance(again.made, Plan)
    forced = replace(again, left=msgspec.structs.replace(again.made, candidates=("a", "b")))
    assert below_floor(forced) == "only: a: not sure to reach the floor: must be >= 0.810"
    shuffled = replace(again, left=msgspec.structs.replace(again.made, candidates=("a",), arm="control"))
    assert below_floor(shuffled) == ""


def test_no_model_for_what_one_was_asked_is_a_violation() -> None:
    found = replayed(with_route(candidates=("nowhere",), fallbacks=()), recorded())
    assert found.violations == ("r0: only: no model may serve what a was asked for",)


def test_a_request_without_a_view_is_decided_with_the_last_one_seen_or_not_at_all() -> None:
    off = with_route(cache=CacheRules(exact_ttl_s=0.0))
    assert replayed(off, hit()).undecided == 1
    found = replayed(off, recorded(), hit())
    assert (found.undecided, found.routes[0].now.models) == (0, {"a": 2})


def test_another_versions_decisions_are_not_held_to_repeat() -> None:
    found = replayed(LIVE, recorded(), recorded(policy_version="older", candidates=("b",)))
    assert (found.repeatable, found.repeated, found.changed) == (1, 1, 1)
    assert replayed(LIVE, recorded(reason="else")).not_repeated == ("r0: reason: else -> fixed:a",)


def test_a_condition_that_matches_less_moves_requests_to_another_route() -> None:
    narrow = replace(LIVE.routes[0], name="narrow", match=Match(tag="x=y"))
    found = replayed(replace(LIVE, routes=(narrow, LIVE.routes[0]), version="new"), recorded())
    assert found.changed == 0
    assert [row.route for row in found.routes] == ["only"]


TIGHT = replace(LIVE, budgets=(BudgetRules(scope="tenant", limit_nanousd=10**9, window="day"),))
SHORT = Headroom(left_nanousd=40_000_000, input_tokens=500, budget="tenant per day")


def test_a_plan_that_a_budget_narrowed_is_narrowed_again_and_nothing_else_will_do() -> None:
    entry = recorded(under=TIGHT, headroom=SHORT, cut=Cut(candidates=("a",), attempts=1))
    assert differences(entry, decide_again(entry, TIGHT)) == ()
    for tampered in (
        {"headroom": None},
        {"headroom": msgspec.structs.replace(SHORT, left_nanousd=10**10)},
        {"cut": None},
        {"cut": Cut(refusal="budget_exceeded")},
    ):
        changed = msgspec.structs.replace(entry, **tampered)
        assert [line.partition(":")[0] for line in differences(changed, decide_again(changed, TIGHT))] == ["budget"]


def test_what_budgets_took_off_plans_is_counted_then_and_now() -> None:
    narrow = recorded(1, under=TIGHT, headroom=SHORT, cut=Cut(candidates=("a",), attempts=1))
    poor = msgspec.structs.replace(SHORT, left_nanousd=5)
    refused = recorded(2, under=TIGHT, headroom=poor, cut=Cut(refusal="budget_exceeded"), spent_nanousd=0)
    wide = recorded(3, under=TIGHT, headroom=Headroom(left_nanousd=10**10, input_tokens=500))
    found = replayed(TIGHT, narrow, refused, wide)
    assert (found.repeated, found.changed, found.routes[0].now.models) == (3, 0, {"a": 2, "refused": 1})
    told = found.budgeted
    assert (told.narrowed_then, told.narrowed_now, told.refused_then, told.refused_now) == (1, 1, 1, 1)
    assert [line.partition(":")[0] for line in told.lines] == ["r1", "r2"]
    assert told.unknown == 0


def test_entries_that_say_nothing_of_budgets_stand_as_they_were_chosen_and_are_counted() -> None:
    found = replayed(TIGHT, recorded(under=TIGHT), recorded(1, under=TIGHT))
    assert (found.repeated, found.budgeted.unknown, found.budgeted.narrowed_now) == (2, 2, 0)
    assert replayed(LIVE, recorded()).budgeted.unknown == 0  # no budget applies


def test_another_policys_plan_meets_the_same_headroom_and_a_refusal_is_no_violation() -> None:
    dear = replace(TIGHT, routes=(replace(LIVE.routes[0], candidates=("b",), fallbacks=()),), version="new")
    found = then_tight(dear)
    assert (found.changed, found.violation_count, found.budgeted.refused_now) == (1, 0, 1)
    assert found.routes[0].now.models == {"refused": 1}
    assert found.most_changed[0].reason_now == "budget_exceeded"
    assert found.refusals == ()  # what is refused spends nothing
    more = replace(dear, budgets=(replace(TIGHT.budgets[0], limit_nanousd=10**10),))
    assert then_tight(more).budgeted.refused_now == 0


def then_tight(new: Policy) -> Replay:
    """Replay one request that was recorded under TIGHT, with next to nothing left."""
    tally = ReplayTally(new, window_of=lambda rule, at: "w", policy_then=lambda _: TIGHT)
    tally.add(recorded(under=TIGHT, headroom=msgspec.structs.replace(SHORT, left_nanousd=9_000)))
    return tally.result()


def test_the_warmer_s_plan_is_narrowed_as_the_warmer_made_it() -> None:
    left = Headroom(left_nanousd=40_000_000, input_tokens=500)
    entry = recorded(under=TIGHT, headroom=left, is_warm=True)
    again = decide_again(entry, TIGHT)
    assert isinstance(again.left, Plan)
    assert (again.left.candidates, again.left.max_attempts, again.cut) == (("a",), 1, None)
    asked = msgspec.structs.replace(entry, is_warm=False)
    assert decide_again(asked, TIGHT).cut is not None
