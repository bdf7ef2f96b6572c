from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from policies.decide import choose, match
from policies.explain import explain
from policies.model import View
from tests.unit.policies.examples import FACTS, ROUTE, card, catalogue, policy, price

CARDS = catalogue(card("a", price(1, 2)), card("b", price(10, 20)), card("tiny", price(1, 1), window=10))
POLICY = policy(replace(ROUTE, candidates=("s", "tiny"), fallbacks=("b", "nobody")), models={"s": "a"})


def test_every_model_of_the_route_has_its_place_or_its_reason() -> None:
    view = View(catalogue=CARDS, unhealthy=frozenset({"b"}))
    route_class = match(POLICY, FACTS)
    found = explain(route_class, choose(route_class, view), CARDS)
    rows = {row.group: row for row in found.considered}
    assert [(row.group, row.name, row.role, row.place, row.code) for row in found.considered] == [
        ("a", "s", "candidate", 1, ""),
        ("tiny", "tiny", "candidate", None, "context_window"),
        ("b", "b", "fallback", None, "unhealthy"),
        ("nobody", "nobody", "fallback", None, "unknown_model"),
    ]
    assert rows["a"].why == found.reason == "fixed:a"
    assert rows["a"].expected_cost_usd == pytest.approx(1000 * 1e-6 + 512 * 2e-6)
    assert rows["nobody"].expected_cost_usd is None


def test_where_no_model_may_serve_every_reason_is_there() -> None:
    facts = msgspec.structs.replace(FACTS, allowed_models=frozenset({"other"}))
    route_class = match(POLICY, facts)
    found = explain(route_class, choose(route_class, View(catalogue=CARDS)), CARDS)
    assert found.reason == ""
    assert {row.code for row in found.considered} == {"not_allowed", "unknown_model"}
