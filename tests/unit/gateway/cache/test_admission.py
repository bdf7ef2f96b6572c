"""Which calls may be joined. What may be stored is tested through a whole gateway (tests/http/test_cache_admission)."""

from __future__ import annotations

import pytest

from gateway.cache.admission import may_join
from gateway.cache.flight import Flight
from policies.model import CacheRules, Match, RequestFacts, Route, RouteClass
from router.time_limits import TimeLimits


@pytest.mark.parametrize(
    ("allowed", "may"),
    [(None, True), ({"a", "b", "c"}, True), ({"a"}, False), (set[str](), False)],
    ids=["every model", "all of the call's", "one of the call's", "none"],
)
async def test_a_call_is_joined_only_by_keys_that_allow_every_model_it_may_end_at(
    allowed: set[str] | None, may: bool
) -> None:
    flight = Flight("k", limits=TimeLimits(), history_bytes=1, groups=frozenset({"a", "b"}))
    assert may_join(flight, _asked(None if allowed is None else frozenset(allowed))) is may


def _asked(allowed: frozenset[str] | None) -> RouteClass:
    facts = RequestFacts(
        dialect="chat",
        requested_model="a",
        tenant="t",
        session="",
        tags=frozenset(),
        input_tokens=1,
        max_output_tokens=None,
        needs=frozenset(),
        allowed_models=allowed,
    )
    route = Route(
        name="r",
        match=Match(),
        candidates=("a",),
        selector="fixed",
        fallbacks=("b",),
        deadline_s=1,
        max_output_tokens=None,
        cache=CacheRules(),
    )
    return RouteClass(policy="p", policy_version="1", route=route, facts=facts, aliases={})
