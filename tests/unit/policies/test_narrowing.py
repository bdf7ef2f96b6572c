"""What is left of a plan, from what budgets had left, and how that is told. Live and replayed: tests/property."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.decide import choose, match
from policies.model import Plan, Policy, View
from policies.narrowing import Cut, Headroom, moved, narrowed, told
from policies.rules import BudgetRules, RateRules
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, policy, price

CARDS = catalogue(card("dear", price(10, 0)), card("fair", price(5, 0)), card("cheap", price(1, 0)))
TENANT = BudgetRules(scope="tenant", limit_nanousd=1000, window="day", on_exceed=("downgrade_to_floor", "refuse"))
OTHER = BudgetRules(scope="route", route="only", limit_nanousd=500, window="day")
TOKENS = RateRules(scope="key", tokens_per_minute=100)
ROUTES = (replace(ROUTE, candidates=("dear", "cheap", "fair"), max_output_tokens=1),)


def under(*budgets: BudgetRules, rates: tuple[RateRules, ...] = ()) -> Policy:
    """Return a policy with these budgets; a call reads 10 tokens and one more: 110,000 nano-dollars at the dearest."""
    return replace(policy(*ROUTES), budgets=budgets, rates=rates)


def left_of(seen: Headroom, rules: Policy) -> tuple[tuple[str, ...], int | None, str]:
    """Return models, attempts and refusal."""
    route_class = match(rules, FACTS)
    plan = choose(route_class, View(catalogue=CARDS))
    assert isinstance(plan, Plan)
    left, cut = narrowed(plan, seen, policy=rules, route_class=route_class, catalogue=CARDS)
    assert (left is None) == (cut is not None and cut.refusal != "")
    return ((), None, cut.refusal if cut else "") if left is None else (left.candidates, left.max_attempts, "")


@pytest.mark.parametrize(
    ("left", "found"),
    [
        (660_000, (("dear", "cheap", "fair"), None, "")),
        (659_999, (("dear", "cheap", "fair"), 2, "")),
        (219_999, (("dear",), 1, "")),
        (109_999, (("cheap",), 1, "")),
        (10_999, ((), None, "budget_exceeded")),
        (None, (("dear", "cheap", "fair"), None, "")),
    ],
)
def test_the_widest_that_is_covered_is_left(left: int | None, found: tuple[tuple[str, ...], int | None, str]) -> None:
    assert left_of(Headroom(left_nanousd=left, input_tokens=10), under(TENANT)) == found


def test_without_downgrade_the_first_model_is_the_last_word_and_a_route_s_budget_binds_it_alone() -> None:
    seen = Headroom(left_nanousd=109_999, input_tokens=10)
    assert left_of(seen, under(OTHER))[2] == "budget_exceeded"
    assert left_of(seen, under(replace(OTHER, route="else")))[0] == ("dear", "cheap", "fair")


def test_what_has_no_bound_or_cannot_be_asked_is_refused_by_hard_budgets_only() -> None:
    soft = replace(TENANT, is_hard=False)
    for seen, why in (
        (Headroom(left_nanousd=0), "cost_unbounded"),
        (Headroom(input_tokens=10, is_away=True), "budget_unavailable"),
    ):
        assert left_of(seen, under(soft, OTHER))[2] == why
        assert left_of(seen, under(soft))[2] == ""


def test_a_limit_on_tokens_refuses_whatever_money_is_left() -> None:
    seen = Headroom(left_nanousd=10**9, input_tokens=10, tokens_left=12)
    assert left_of(seen, under(TENANT, rates=(TOKENS,)))[2] == ""
    short = Headroom(left_nanousd=10**9, input_tokens=10, tokens_left=11)
    assert left_of(short, under(TENANT, rates=(TOKENS,)))[2] == "rate_limit_exceeded"
    assert left_of(short, under(TENANT))[2] == ""


def test_a_limit_that_moves_takes_what_was_left_with_it() -> None:
    seen = Headroom(left_nanousd=100, tokens_left=10)

    def left(now: Policy) -> tuple[int | None, int | None]:
        found = moved(seen, then=under(TENANT, OTHER, rates=(TOKENS,)), route_then="only", policy=now, route="only")
        return found.left_nanousd, found.tokens_left

    more, less = replace(TENANT, limit_nanousd=1500), replace(OTHER, limit_nanousd=450)
    assert left(under(more, rates=(replace(TOKENS, tokens_per_minute=130),))) == (600, 40)
    assert left(under(more, less)) == (50, None)
    assert left(under(TENANT, OTHER, rates=(TOKENS,))) == (100, 10)
    assert left(under(replace(TENANT, window="month"))) == (None, None)


@pytest.mark.parametrize(
    ("seen", "cut", "text"),
    [
        (
            Headroom(left_nanousd=3_100_000, budget="tenant per day"),
            Cut(candidates=("b",), attempts=1),
            "narrowed by budget tenant per day: a, c dropped, 1 attempt at most, 0.0031 USD left",
        ),
        (
            Headroom(left_nanousd=5),
            Cut(candidates=("a", "b", "c"), attempts=2),
            "narrowed by a budget: no model dropped, 2 attempts at most, 0.000000005 USD left",
        ),
        (
            Headroom(left_nanousd=-1, budget="key per hour"),
            Cut(refusal="budget_exceeded"),
            "refused by budget key per hour: 0 USD left",
        ),
        (
            Headroom(tokens_left=7, budget="tokens of the key per minute"),
            Cut(refusal="rate_limit_exceeded"),
            "refused by limit tokens of the key per minute: 7 tokens left",
        ),
        (
            Headroom(is_away=True, budget="tenant per day"),
            Cut(refusal="budget_unavailable"),
            "refused by budget tenant per day: it could not be asked, and it is a hard one",
        ),
        (
            Headroom(),
            Cut(refusal="cost_unbounded"),
            "refused: its cost has no upper bound, and a hard budget applies",
        ),
    ],
)
def test_a_cut_is_told_in_a_line(seen: Headroom, cut: Cut, text: str) -> None:
    assert told(("a", "b", "c"), seen, cut) == text
