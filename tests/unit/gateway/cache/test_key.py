"""The exact key: what must not matter, what must, and who shares nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.key import exact_key, is_storable
from policies.model import CacheRules, Match, RequestFacts, Route, RouteClass

BASE: dict[str, object] = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    "temperature": 0,
}


def route_class(
    *,
    tenant: str = "t",
    model: str = "m",
    route: str = "r",
    epoch: int = 0,
    partition_by_user: bool = False,
    normalise: tuple[str, ...] = (),
) -> RouteClass:
    cache = CacheRules(partition_by_user=partition_by_user, normalise=normalise)
    return RouteClass(
        policy="p",
        policy_version="v",
        route=Route(
            name=route,
            match=Match(),
            candidates=("m",),
            selector="fixed",
            fallbacks=(),
            deadline_s=60,
            max_output_tokens=None,
            cache=cache,
            epoch=epoch,
        ),
        facts=RequestFacts(
            dialect="chat",
            requested_model=model,
            tenant=tenant,
            session="",
            tags=frozenset(),
            input_tokens=1,
            max_output_tokens=None,
            needs=frozenset(),
            allowed_models=None,
        ),
        aliases={},
    )


PLAIN = route_class()


def key(document: Mapping[str, object], found: RouteClass = PLAIN, *, namespace: str = "") -> str:
    return exact_key(document, found, namespace=namespace, identity=None)


@pytest.mark.parametrize(
    "extra",
    [
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"n": 1},
        {"top_p": 1.0},
        {"top_p": 1},
        {"logit_bias": {}},
        {"user": "ann"},
        {"metadata": {"a": "b"}},
        {"prompt_cache_key": "k"},
        {"store": True},
        {"service_tier": "flex"},
        {"seed": None},
        {"temperature": 0.0},
        {"cache": {"ttl": 3}},
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_key(extra: dict[str, object]) -> None:
    assert key({**BASE, **extra}) == key(BASE)


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": 0.2},
        {"n": 2},
        {"top_p": 0.9},
        {"seed": 1},
        {"max_tokens": 5},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"unknown_field": 1},
        {"messages": [{"role": "user", "content": "Why?"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why not?"}]},
    ],
)
def test_what_may_change_the_answer_changes_the_key(extra: dict[str, object]) -> None:
    assert key({**BASE, **extra}) != key(BASE)


@pytest.mark.parametrize(
    "other",
    [
        route_class(tenant="u"),
        route_class(model="n"),
        route_class(route="s"),
        route_class(epoch=1),
    ],
)
def test_tenant_model_route_and_epoch_partition(other: RouteClass) -> None:
    assert key(BASE, other) != key(BASE)


def test_a_namespace_partitions() -> None:
    assert key(BASE, namespace="a") != key(BASE)


def test_user_partitions_only_where_the_route_says_so() -> None:
    by_user = route_class(partition_by_user=True)
    assert key({**BASE, "user": "ann"}, by_user) != key({**BASE, "user": "bob"}, by_user)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(extra=st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=4), data=st.data())
def test_key_order_and_white_space_never_matter(extra: dict[str, object], data: st.DataObject) -> None:
    document = {**BASE, **{f"x_{name}": value for name, value in extra.items()}}
    shuffled = dict(data.draw(st.permutations(list(document.items()))))
    again = orjson.loads(orjson.dumps(shuffled, option=orjson.OPT_INDENT_2))
    before = copy.deepcopy(document)
    assert key(again) == key(document)
    assert document == before


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_two_texts_share_a_key_only_if_equal(one: str, other: str) -> None:
    def asked(text: str) -> dict[str, object]:
        return {**BASE, "messages": [{"role": "user", "content": text}]}

    assert (key(asked(one)) == key(asked(other))) == (one == other)


def system(text: str) -> dict[str, object]:
    return {**BASE, "messages": [{"role": "system", "content": text}, {"role": "user", "content": "Why?"}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Now: November 22 2026 18:57:03", "Now: December 1 2026 07:00:59"),
        ("Today is Sunday, November 22, 2026.", "Today is Monday, November 23, 2026."),
        ("time 2026-11-22T18:57:03Z", "time 2026-11-22T18:58:00Z"),
        ("at 6:57 PM", "at 7:01 am"),
    ],
)
def test_clock_in_system_makes_the_time_of_asking_not_matter(one: str, other: str) -> None:
    normalised = route_class(normalise=("clock_in_system",))
    assert key(system(one), normalised) == key(system(other), normalised)
    assert key(system(one)) != key(system(other))


def test_clock_in_system_leaves_the_user_alone() -> None:
    normalised = route_class(normalise=("clock_in_system",))
    one = {**BASE, "messages": [{"role": "user", "content": "What happened on 2001-09-11?"}]}
    other = {**BASE, "messages": [{"role": "user", "content": "What happened on 2002-09-11?"}]}
    assert key(one, normalised) != key(other, normalised)


def test_user_mention_prefix_drops_only_leading_mentions() -> None:
    normalised = route_class(normalise=("user_mention_prefix",))

    def said(text: str) -> str:
        return key({**BASE, "messages": [{"role": "user", "content": text}]}, normalised)

    assert said("<@123>: Why?") == said("<@!9> Why?") == said("Why?")
    assert said("ask <@123>") != said("ask <@124>")


@pytest.mark.parametrize(
    ("temperature", "limit", "stored"),
    [(None, 0.3, True), (0, 0.3, True), (0.3, 0.3, True), (0.7, 0.3, False), (0.7, None, True), (1, 0.3, False)],
)
def test_sampled_answers_are_stored_as_the_route_says(
    temperature: float | None, limit: float | None, stored: bool
) -> None:
    assert is_storable({"temperature": temperature}, CacheRules(max_temperature=limit)) is stored


def test_a_ttl_of_zero_stores_nothing() -> None:
    assert not is_storable({}, CacheRules(exact_ttl_s=0))


def test_an_identity_replaces_the_body_but_not_the_partition() -> None:
    def segment(document: Mapping[str, object], found: RouteClass, identity: bytes) -> str:
        return exact_key(document, found, namespace="", identity=identity)

    assert segment(BASE, PLAIN, b"s1") == segment({**BASE, "seed": 4}, PLAIN, b"s1")
    assert segment(BASE, PLAIN, b"s1") != segment(BASE, PLAIN, b"s2")
    assert segment(BASE, PLAIN, b"s1") != segment(BASE, route_class(tenant="u"), b"s1")
    assert segment(BASE, PLAIN, b"") != key(BASE)
