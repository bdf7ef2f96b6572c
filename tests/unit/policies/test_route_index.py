from __future__ import annotations

import pytest

from policies.decide import match
from policies.load import load_policy
from policies.model import Match
from policies.route_index import index_of, places
from tests.bench.samples import policy_of
from tests.unit.policies.examples import FACTS, policy, route


def test_a_short_policy_has_no_index() -> None:
    assert load_policy(policy_of(10), source="p.yaml", groups=None).index is None


def test_of_a_thousand_routes_a_plain_request_is_tried_against_one() -> None:
    loaded = load_policy(policy_of(1_000), source="p.yaml", groups=None)
    assert loaded.index is not None
    assert list(places(loaded.index, FACTS)) == [999]
    assert match(loaded, FACTS).route.name == "chat"


@pytest.mark.parametrize(
    ("condition", "may_hold"),
    [
        (Match(model="gpt-4o-mini"), True),
        (Match(model="gpt-4o"), False),
        (Match(model="gpt-4*"), True),
        (Match(model="gpt-[45]*"), True),
        (Match(model="claude-*"), False),
        (Match(model="*"), True),
        (Match(tenant="some?ne"), True),
        (Match(tenant="somebody"), False),
        (Match(tag="task=fallacy"), False),
        (Match(all=(Match(dialect="chat"), Match(tenant="another"))), False),
        (Match(any_of=(Match(tenant="another"), Match(model="gpt-4o-mini"))), True),
        (Match(any_of=(Match(tenant="another"), Match(tag="task=*"))), False),
        (Match(any_of=(Match(tenant="another"), Match(dialect="chat"))), True),
        (Match(none=(Match(tenant="another"),)), True),
        (Match(), True),
    ],
    ids=repr,
)
def test_only_routes_that_cannot_hold_are_left_out(condition: Match, may_hold: bool) -> None:
    index = index_of((route("it", condition),), few=0)
    assert index is not None
    assert list(places(index, FACTS)) == ([0] if may_hold else [])


def test_of_two_routes_that_hold_the_first_is_taken_whatever_their_clues() -> None:
    routes = (
        route("no", Match(tag="task=x")),
        route("by tenant", Match(tenant="some*")),
        route("by model", Match(model="gpt-4o-mini")),
        route("all", Match()),
    )
    built = policy(*routes)
    index = index_of(routes, few=0)
    assert index is not None
    assert [routes[place].name for place in places(index, FACTS)] == ["by tenant", "by model", "all"]
    assert match(built, FACTS).route.name == "by tenant"
