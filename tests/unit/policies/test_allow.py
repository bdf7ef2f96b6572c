"""Where a request's text may go: every deployment of a model counts, and fallbacks and copies are bound as well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.decide import choose, match, may_have
from policies.document import DocumentError
from policies.load import load_policy
from policies.model import ModelCard, NoCandidate, Plan, View
from policies.rules import AllowRules
from tests.unit.policies.examples import FACTS, GROUPS, ROUTE, card, catalogue, policy

EU = AllowRules(providers=frozenset({"openai", "azure"}), regions=frozenset({"eu"}))
HERE = card("gpt-4o-mini", providers=("azure",), regions=("eu",))


def planned(*cards: ModelCard, allow: AllowRules | None = EU) -> Plan | NoCandidate:
    route = replace(ROUTE, candidates=("requested",), fallbacks=tuple(one.group for one in cards), allow=allow)
    return choose(match(policy(route), FACTS), View(catalogue=catalogue(*cards)))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (card("gpt-4o", providers=("openai", "openrouter"), regions=("eu",)), "at openrouter"),
        (card("gpt-4o", providers=("openai",), regions=("eu", "us")), "in us"),
        (card("gpt-4o", providers=("openai",)), "in an unknown region"),
    ],
)
def test_a_fallback_with_any_deployment_elsewhere_is_left_out_and_says_where(other: ModelCard, why: str) -> None:
    plan = planned(HERE, other)
    assert isinstance(plan, Plan)
    assert plan.candidates == ("gpt-4o-mini",)
    (rejection,) = plan.rejected
    assert (rejection.candidate, rejection.code) == ("gpt-4o", "not_here")
    assert why in rejection.detail
    anywhere = planned(HERE, other, allow=None)
    assert isinstance(anywhere, Plan)
    assert anywhere.candidates == ("gpt-4o-mini", "gpt-4o")


def test_who_asks_for_a_model_that_is_elsewhere_gets_no_other_one() -> None:
    found = planned(
        card("gpt-4o-mini", providers=("openrouter",)), card("gpt-4o", providers=("azure",), regions=("eu",))
    )
    assert isinstance(found, NoCandidate)
    assert found.rejected[0].code == "not_here"


def test_the_simulated_provider_is_nowhere() -> None:
    stand_in = card("gpt-4o-mini", providers=("simulated",), regions=())
    plan = planned(stand_in)
    assert isinstance(plan, Plan)
    assert plan.candidates == ("gpt-4o-mini",)


def test_copies_are_bound_too_but_not_by_size() -> None:
    route_class = match(policy(replace(ROUTE, allow=EU)), FACTS)
    assert may_have(HERE, route_class)
    assert may_have(replace(HERE, context_window=1), route_class)
    assert not may_have(replace(HERE, regions=("us",)), route_class)


TEXT = """\
version: 1
policy: example
defaults: {allow: {providers: [openai]}}
routes:
  - {name: a, match: {tag: x=y}, candidates: [requested], allow: {regions: [eu]}}
  - {name: b, match: {any: true}, candidates: [requested]}
"""


def test_a_route_says_where_or_the_file_does() -> None:
    first, second = load_policy(TEXT, source="f.yaml", groups=GROUPS).routes
    assert first.allow == AllowRules(regions=frozenset({"eu"}))
    assert second.allow == AllowRules(providers=frozenset({"openai"}))


def test_an_allow_list_that_allows_nothing_in_particular_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"f.yaml:5: routes\[0\].allow: {}: give providers, regions or both"):
        load_policy(TEXT.replace("{regions: [eu]}", "{}"), source="f.yaml", groups=GROUPS)
