"""What is remembered of earlier choices is what would be chosen now, whatever the policy and the requests."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.choices import MAX_CHOICES, Choice, Choices
from policies.decide import choose, match
from policies.decision import decided
from policies.model import Plan, Policy, RequestFacts, View
from tests.property.test_decide import policies, requests, views
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, policy, price

draws = st.floats(0, 1, exclude_max=True)


def distinct(some: Policy) -> Policy:
    """Return the policy with names that are its routes' own, as loading demands."""
    return replace(some, routes=tuple(replace(one, name=f"r{place}") for place, one in enumerate(some.routes)))


def ask(choices: Choices, some: Policy, facts: RequestFacts, view: View) -> bool:
    """Choose as the launcher does, hold what is remembered against the choice; return whether something was."""
    found = match(some, facts)
    chosen = choose(found, view)
    made = choices.find(found, view.catalogue, view.unhealthy)
    if made is not None:
        assert made.plan == chosen
        assert made.decided(view.draw) == decided(facts, view, chosen, catalogue="c")
        return True
    if isinstance(chosen, Plan):
        choices.keep(found, Choice(plan=chosen, decision=decided(facts, view, chosen, catalogue="c")))
    return False


@given(
    some=policies.map(distinct),
    asked=st.lists(st.tuples(requests, draws), max_size=4),
    seen=st.lists(views, max_size=2),
)
def test_a_choice_is_remembered_only_where_it_would_be_made_again(
    some: Policy, asked: list[tuple[RequestFacts, float]], seen: list[View]
) -> None:
    choices = Choices()
    for view in (*seen, *seen):
        for facts, draw in (*asked, *asked):
            ask(choices, some, facts, structs.replace(view, draw=draw))


def test_requests_that_differ_in_size_alone_share_a_choice_until_one_does_not_fit_everywhere() -> None:
    choices, view = Choices(), View(catalogue=catalogue(card("gpt-4o-mini"), card("gpt-4o", window=8000)))
    sizes = [10, 20, 7999, 8000, 8001, 30]
    told = [ask(choices, policy(ROUTE), structs.replace(FACTS, input_tokens=size), view) for size in sizes]
    assert told == [False, True, True, True, False, True]


def test_a_model_that_fell_ill_or_another_catalogue_ends_what_is_remembered() -> None:
    choices, well = Choices(), View(catalogue=catalogue(card("gpt-4o-mini"), card("gpt-4o")))
    some = policy(replace(ROUTE, fallbacks=("gpt-4o",)))
    ill = structs.replace(well, unhealthy=frozenset({"gpt-4o-mini"}))
    other = structs.replace(well, catalogue=dict(well.catalogue))
    told = [ask(choices, some, FACTS, view) for view in (well, well, ill, ill, well, other, other)]
    assert told == [False, True, False, True, False, False, True]


def test_who_looks_at_prices_or_quality_is_asked_every_time() -> None:
    choices, view = Choices(), View(catalogue=catalogue(card("gpt-4o-mini", price(0.15, 0.6))))
    some = policy(replace(ROUTE, selector="cheapest"))
    assert [ask(choices, some, FACTS, view) for _ in range(3)] == [False, False, False]
    assert len(choices) == 0


def test_callers_cannot_grow_what_is_remembered() -> None:
    choices, view = Choices(), View(catalogue=catalogue(card("gpt-4o-mini")))
    for most in range(1, 2 * MAX_CHOICES):
        ask(choices, policy(ROUTE), structs.replace(FACTS, max_output_tokens=most), view)
    assert 0 < len(choices) <= MAX_CHOICES
