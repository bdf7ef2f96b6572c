from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from policies.decide import choose, match, output_cap
from policies.model import (
    CacheRules,
    Match,
    ModelCard,
    NoCandidate,
    Plan,
    RejectionCode,
    RequestFacts,
    Route,
    RouteClass,
    TokenRange,
    View,
)
from policies.rules import HedgeRules
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, policy, price, route

CHEAP = card("cheap", price(0.1, 0.4))
MIDDLE = card("middle", price(1, 4))
DEAR = card("dear", price(3, 15))
ALL = catalogue(CHEAP, MIDDLE, DEAR)


def decide(route: Route, facts: RequestFacts = FACTS, view: View | None = None) -> Plan | NoCandidate:
    return choose(match(policy(route), facts), view or View(catalogue=ALL))


def planned(route: Route, facts: RequestFacts = FACTS, view: View | None = None) -> Plan:
    plan = decide(route, facts, view)
    assert isinstance(plan, Plan)
    return plan


def taken(condition: Match, facts: RequestFacts) -> bool:
    chosen = match(policy(route("first", condition), route("last", Match())), facts)
    return chosen.route.name == "first"


TAGGED = structs.replace(FACTS, tags=frozenset({"task=fallacy", "lang=en"}), tenant="team-1", input_tokens=100)


@pytest.mark.parametrize(
    ("condition", "is_match"),
    [
        (Match(), True),
        (Match(model="gpt-4*"), True),
        (Match(model="gpt-4"), False),
        (Match(tenant="team-?"), True),
        (Match(tenant="team"), False),
        (Match(tag="task=fallacy"), True),
        (Match(tag="task=analysis"), False),
        (Match(tag="task=*"), True),
        (Match(tag="tas=*"), False),
        (Match(dialect="chat"), True),
        (Match(dialect="embeddings"), False),
        (Match(input_tokens=TokenRange(lt=100)), False),
        (Match(input_tokens=TokenRange(lt=101)), True),
        (Match(input_tokens=TokenRange(lte=100)), True),
        (Match(input_tokens=TokenRange(lte=99)), False),
        (Match(input_tokens=TokenRange(gt=100)), False),
        (Match(input_tokens=TokenRange(gt=99)), True),
        (Match(input_tokens=TokenRange(gte=100)), True),
        (Match(input_tokens=TokenRange(gte=101)), False),
        (Match(model="gpt-*", tenant="nobody"), False),
        (Match(all=(Match(tag="lang=en"), Match(tenant="team-1"))), True),
        (Match(all=(Match(tag="lang=en"), Match(tenant="team-2"))), False),
        (Match(any_of=(Match(tag="lang=de"), Match(tenant="team-1"))), True),
        (Match(any_of=(Match(tag="lang=de"), Match(tenant="team-2"))), False),
        (Match(none=(Match(tag="lang=de"), Match(tenant="team-2"))), True),
        (Match(none=(Match(tag="lang=de"), Match(tenant="team-1"))), False),
        (Match(all=(Match(none=(Match(any_of=(Match(model="x"), Match(tag="lang=*"))),)),)), False),
    ],
)
def test_a_condition_holds_when_everything_in_it_does(condition: Match, is_match: bool) -> None:
    assert taken(condition, TAGGED) is is_match


def test_the_first_route_that_matches_is_taken() -> None:
    routes = (route("a", Match(model="x")), route("b", Match(model="gpt-*")), route("c", Match(tenant="*")))
    assert match(policy(*routes, route("d", Match())), FACTS).route.name == "b"


def test_a_match_names_the_policy_and_its_version() -> None:
    chosen = match(policy(ROUTE, models={"small": "cheap"}), FACTS)
    assert chosen == RouteClass(
        policy="example", policy_version="0123456789ab", route=ROUTE, facts=FACTS, aliases={"small": "cheap"}
    )


def test_candidates_are_aliases_groups_or_what_was_asked_for() -> None:
    facts = structs.replace(FACTS, requested_model="dear")
    chosen = match(
        policy(replace(ROUTE, candidates=("small", "requested", "middle")), models={"small": "cheap"}), facts
    )
    plan = choose(chosen, View(catalogue=ALL))
    assert isinstance(plan, Plan)
    assert plan.candidates == ("cheap", "dear", "middle")
    assert plan.reason == "fixed:cheap"


def test_the_cheapest_comes_first_and_the_reason_shows_the_comparison() -> None:
    plan = planned(replace(ROUTE, candidates=("dear", "cheap", "middle"), selector="cheapest"))
    assert plan.candidates == ("cheap", "middle", "dear")
    assert plan.reason == "cheapest:cheap 0.0003048<middle 0.003048<dear 0.01068"


def test_equal_costs_keep_the_order_of_the_policy() -> None:
    twins = catalogue(card("b", price(1, 4)), card("a", price(1, 4)))
    plan = planned(replace(ROUTE, candidates=("b", "a"), selector="cheapest"), view=View(catalogue=twins))
    assert plan.candidates == ("b", "a")
    assert plan.reason == "cheapest:b 0.003048=a 0.003048"


def test_fallbacks_follow_in_their_order_without_repeats() -> None:
    route = replace(ROUTE, candidates=("dear", "cheap"), selector="cheapest", fallbacks=("dear", "middle", "cheap"))
    assert planned(route).candidates == ("cheap", "dear", "middle")


def test_a_model_without_a_price_is_left_out_of_cost_routing_but_may_be_a_fallback() -> None:
    cards = catalogue(card("free"), CHEAP)
    route = replace(ROUTE, candidates=("free", "cheap"), selector="cheapest")
    plan = planned(route, view=View(catalogue=cards))
    assert plan.candidates == ("cheap",)
    assert [(r.candidate, r.code) for r in plan.rejected] == [("free", "no_price")]
    plan = planned(replace(route, fallbacks=("free",)), view=View(catalogue=cards))
    assert (plan.candidates, plan.rejected) == (("cheap", "free"), ())
    fixed = planned(replace(route, selector="fixed"), view=View(catalogue=cards))
    assert fixed.candidates == ("free", "cheap")


REFUSALS: list[tuple[ModelCard | None, RequestFacts, RejectionCode, str]] = [
    (None, FACTS, "unknown_model", "no model is called 'x'"),
    (card("x"), structs.replace(FACTS, allowed_models=frozenset({"y"})), "not_allowed", "this key may not use 'x'"),
    (card("x", mode="embeddings"), FACTS, "wrong_mode", "'x' serves embeddings, not chat"),
    (
        card("x"),
        structs.replace(FACTS, needs=frozenset({"tools", "vision"})),
        "capability",
        "'x' does not support vision",
    ),
    (
        card("x", window=1000),
        structs.replace(FACTS, max_output_tokens=1),
        "context_window",
        "about 1001 tokens with the answer, but 'x' holds 1000",
    ),
]


@pytest.mark.parametrize(("refused", "facts", "code", "detail"), REFUSALS, ids=[row[2] for row in REFUSALS])
@pytest.mark.parametrize("place", ["candidates", "fallbacks"])
def test_a_model_that_may_not_serve_is_neither_candidate_nor_fallback(
    refused: ModelCard | None, facts: RequestFacts, code: RejectionCode, detail: str, place: str
) -> None:
    route = replace(ROUTE, candidates=("x",)) if place == "candidates" else replace(ROUTE, fallbacks=("x",))
    view = View(catalogue=catalogue(refused) if refused else {})
    found = decide(route, structs.replace(facts, requested_model="absent"), view)
    assert isinstance(found, NoCandidate)
    assert found.route == "only"
    rejection = next(r for r in found.rejected if r.candidate == "x")
    assert (rejection.code, rejection.detail) == (code, detail)


@pytest.mark.parametrize(
    "facts", [FACTS, structs.replace(FACTS, allowed_models=frozenset({"dear"}))], ids=["absent", "closed"]
)
def test_a_fallback_does_not_stand_in_for_a_model_that_the_caller_may_not_name(facts: RequestFacts) -> None:
    requested = "absent" if facts is FACTS else "cheap"
    route = replace(ROUTE, candidates=("requested",), fallbacks=("dear",))
    found = decide(route, structs.replace(facts, requested_model=requested), View(catalogue=ALL))
    assert isinstance(found, NoCandidate)
    assert [rejection.candidate for rejection in found.rejected] == [requested]
    # Where the policy chooses, the caller's word is only a label.
    named = structs.replace(facts, requested_model="absent")
    assert planned(replace(route, candidates=("dear",)), named).candidates == ("dear",)


def test_a_request_that_just_fits_the_window_may_be_served() -> None:
    facts = structs.replace(FACTS, input_tokens=990, max_output_tokens=10, requested_model="x")
    assert planned(ROUTE, facts, View(catalogue=catalogue(card("x", window=1000)))).candidates == ("x",)


def test_an_unknown_window_is_no_reason_to_refuse() -> None:
    facts = structs.replace(FACTS, input_tokens=10_000_000, requested_model="x")
    assert planned(ROUTE, facts, View(catalogue=catalogue(card("x", window=None)))).candidates == ("x",)


def test_the_cap_is_the_smaller_of_route_and_client_and_none_for_embeddings() -> None:
    capped = replace(ROUTE, max_output_tokens=100)
    assert output_cap(capped, structs.replace(FACTS, max_output_tokens=50)) == 50
    assert output_cap(capped, structs.replace(FACTS, max_output_tokens=500)) == 100
    assert output_cap(capped, FACTS) == 100
    assert output_cap(ROUTE, structs.replace(FACTS, max_output_tokens=0)) == 0
    assert output_cap(ROUTE, FACTS) is None
    assert output_cap(capped, structs.replace(FACTS, dialect="embeddings")) is None


def test_a_cap_of_the_client_alone_is_not_written_into_the_request_again() -> None:
    facts = structs.replace(FACTS, requested_model="cheap", max_output_tokens=50)
    assert planned(ROUTE, facts).max_output_tokens is None
    assert planned(replace(ROUTE, max_output_tokens=100), facts).max_output_tokens == 50


def test_a_model_out_of_service_is_dropped_and_named() -> None:
    route = replace(ROUTE, candidates=("cheap", "dear"), selector="cheapest", fallbacks=("middle",))
    plan = planned(route, view=View(catalogue=ALL, unhealthy=frozenset({"cheap"})))
    assert plan.candidates == ("dear", "middle")
    assert plan.reason == "cheapest:dear 0.01068"
    assert [(r.candidate, r.code) for r in plan.rejected] == [("cheap", "unhealthy")]


def test_a_fallback_in_service_comes_before_a_candidate_that_is_not() -> None:
    route = replace(ROUTE, candidates=("cheap",), fallbacks=("dear",))
    plan = planned(route, view=View(catalogue=ALL, unhealthy=frozenset({"cheap"})))
    assert (plan.candidates, plan.reason) == (("dear",), "fallback:dear")


def test_the_last_model_that_satisfies_the_policy_is_never_ejected() -> None:
    route = replace(ROUTE, candidates=("cheap", "dear"), fallbacks=("middle",))
    plan = planned(route, view=View(catalogue=ALL, unhealthy=frozenset(ALL)))
    assert (plan.candidates, plan.reason) == (("cheap",), "last_resort:cheap")
    assert [r.candidate for r in plan.rejected] == ["dear", "middle"]


def test_a_plan_carries_the_limits_of_its_route() -> None:
    rules = CacheRules(exact_ttl_s=5.0)
    hedge = HedgeRules(budget_ratio=0.01)
    route = replace(ROUTE, candidates=("cheap",), deadline_s=7.0, assemble=True, cache=rules, hedge=hedge)
    plan = planned(route)
    assert (plan.route, plan.policy, plan.policy_version) == ("only", "example", "0123456789ab")
    assert (plan.deadline_s, plan.assemble, plan.cache, plan.hedge) == (7.0, True, rules, hedge)


def test_a_name_as_long_as_a_body_is_not_repeated_whole() -> None:
    found = decide(ROUTE, structs.replace(FACTS, requested_model="x" * 1_000_000))
    assert isinstance(found, NoCandidate)
    assert len(found.rejected[0].detail) < 200
    assert len(found.rejected[0].candidate) <= 128
