"""What decide() keeps for every policy, request and state of the world."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from policies.decide import choose, match, output_cap
from policies.model import (
    CacheRules,
    Capability,
    Dialect,
    Match,
    ModelCard,
    NoCandidate,
    Plan,
    Policy,
    RequestFacts,
    Route,
    TokenRange,
    View,
)
from policies.prices import Price, Rates
from policies.route_index import index_of
from policies.rules import AllowRules
from policies.selectors import SELECTORS

GROUPS = ("a", "b", "c", "d", "e")
NAMES = (*GROUPS, "alias-1", "alias-2", "requested", "nobody")
CAPABILITIES: tuple[Capability, ...] = ("tools", "vision", "audio", "json_schema", "logprobs")
DIALECTS: tuple[Dialect, ...] = ("chat", "embeddings")

tokens = st.integers(0, 300) | st.integers(0, 10**7)
bounds = st.none() | tokens
dialects = st.sampled_from(DIALECTS)
needs = st.frozensets(st.sampled_from(CAPABILITIES), max_size=2)
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map(tuple)
rates = st.builds(
    Rates,
    input=st.integers(0, 10**8),
    cached_input=st.just(0),
    cache_write=st.just(0),
    output=st.integers(0, 10**8),
    reasoning=st.just(0),
)
prices = st.builds(Price, base=rates, above=st.lists(st.tuples(tokens, rates), max_size=2).map(tuple))
places = st.none() | st.frozensets(st.sampled_from(("p", "q", "")), min_size=1)
conditions = st.recursive(
    st.builds(
        Match,
        model=st.none() | st.sampled_from(("a", "[ab]", "*", "?", "x*", "")),
        tenant=st.none() | st.sampled_from(("t*", "u")),
        tag=st.none() | st.sampled_from(("k=v", "k=*", "j=*")),
        dialect=st.none() | dialects,
        input_tokens=st.none() | st.builds(TokenRange, lt=bounds, lte=bounds, gt=bounds, gte=bounds),
    ),
    lambda inner: st.builds(
        Match,
        all=st.lists(inner, max_size=2).map(tuple),
        any_of=st.lists(inner, max_size=2).map(tuple),
        none=st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=4,
)
routes = st.builds(
    Route,
    name=st.sampled_from(("one", "two")),
    match=conditions,
    candidates=names,
    selector=st.sampled_from(sorted(SELECTORS)),
    fallbacks=names | st.just(()),
    deadline_s=st.just(60.0),
    max_output_tokens=bounds,
    cache=st.just(CacheRules()),
    allow=st.none() | st.builds(AllowRules, providers=places, regions=places),
)
policies = st.builds(
    Policy,
    name=st.just("p"),
    version=st.just("v"),
    source=st.just("p.yaml"),
    models=st.fixed_dictionaries({"alias-1": st.sampled_from(GROUPS), "alias-2": st.sampled_from(GROUPS)}),
    routes=st.lists(routes, min_size=1, max_size=4).map(tuple),
)
requests = st.builds(
    RequestFacts,
    dialect=dialects,
    requested_model=st.sampled_from(GROUPS) | st.text(max_size=20),
    tenant=st.sampled_from(("t1", "u", "")),
    session=st.just("s"),
    tags=st.frozensets(st.sampled_from(("k=v", "k=w", "l=v", "")), max_size=3),
    input_tokens=tokens,
    max_output_tokens=bounds,
    needs=needs,
    allowed_models=st.none() | st.frozensets(st.sampled_from(GROUPS)),
)


def card_strategy(group: str) -> st.SearchStrategy[ModelCard]:
    return st.builds(
        ModelCard,
        group=st.just(group),
        providers=st.lists(st.sampled_from(("p", "q")), min_size=1, max_size=2).map(tuple),
        mode=dialects,
        price=st.none() | prices,
        context_window=bounds,
        max_output_tokens=bounds,
        capabilities=st.frozensets(st.sampled_from(CAPABILITIES)) | st.just(frozenset(CAPABILITIES)),
        is_simulated=st.booleans(),
        regions=st.lists(st.sampled_from(("p", "q", "")), min_size=1, max_size=2).map(tuple),
    )


views = st.builds(
    View,
    catalogue=st.fixed_dictionaries({}, optional={group: card_strategy(group) for group in GROUPS}),
    unhealthy=st.frozensets(st.sampled_from(GROUPS)),
    draw=st.floats(0, 1, exclude_max=True),
)


def is_here(card: ModelCard, allow: AllowRules | None) -> bool:
    """Whether every deployment is at an allowed provider and in an allowed region."""
    if allow is None:
        return True
    is_at = allow.providers is None or set(card.providers) <= allow.providers
    return is_at and (allow.regions is None or set(card.regions) <= allow.regions)


def may_serve(card: ModelCard, facts: RequestFacts, cap: int | None, allow: AllowRules | None = None) -> bool:
    """The conditions of policies/README.md, written a second time."""
    fits = card.context_window is None or facts.input_tokens + (cap or 0) <= card.context_window
    is_allowed = facts.allowed_models is None or card.group in facts.allowed_models
    return (
        fits and is_allowed and is_here(card, allow) and card.mode == facts.dialect and facts.needs <= card.capabilities
    )


def is_mistaken(card: ModelCard | None, facts: RequestFacts, allow: AllowRules | None = None) -> bool:
    """Whether the caller named a model that does not exist, is of another kind, elsewhere or not theirs to use."""
    if card is None or card.mode != facts.dialect or not is_here(card, allow):
        return True
    return facts.allowed_models is not None and card.group not in facts.allowed_models


def named(policy: Policy, names: tuple[str, ...], facts: RequestFacts) -> list[str]:
    return [facts.requested_model if name == "requested" else policy.models.get(name, name) for name in names]


@given(policy=policies, facts=requests, view=views)
def test_a_plan_holds_only_models_that_the_route_names_and_that_may_serve(
    policy: Policy, facts: RequestFacts, view: View
) -> None:
    found = match(policy, facts)
    result = choose(found, view)
    route = found.route
    cap = output_cap(route, facts)
    candidates, fallbacks = named(policy, route.candidates, facts), named(policy, route.fallbacks, facts)
    able = [g for g in view.catalogue if may_serve(view.catalogue[g], facts, cap, route.allow)]
    wanted = [g for g in candidates if route.selector == "fixed" or g not in able or view.catalogue[g].price]
    expected = {g for g in (*wanted, *fallbacks) if g in able}
    asked = view.catalogue.get(facts.requested_model)
    mistaken = is_mistaken(asked, facts, route.allow) and "requested" in route.candidates
    if isinstance(result, NoCandidate):
        assert mistaken or expected == set()
        assert result.rejected
        return
    assert not mistaken
    assert len(set(result.candidates)) == len(result.candidates)
    healthy = expected - view.unhealthy
    if healthy:
        assert set(result.candidates) == healthy
    else:
        assert len(result.candidates) == 1
        assert set(result.candidates) <= expected
    refused = {rejection.candidate for rejection in result.rejected}
    assert refused.isdisjoint(result.candidates)
    assert refused | set(result.candidates) == {g[:128] for g in (*candidates, *fallbacks)}


@given(policy=policies, facts=requests, view=views)
def test_the_same_facts_and_view_give_the_same_plan(policy: Policy, facts: RequestFacts, view: View) -> None:
    turned = View(
        catalogue=dict(reversed(list(view.catalogue.items()))), unhealthy=frozenset(sorted(view.unhealthy)), draw=0.5
    )
    assert match(policy, facts) == match(policy, facts)
    assert choose(match(policy, facts), view) == choose(match(policy, facts), turned)


@given(policy=policies, facts=requests, view=views)
def test_candidates_come_before_fallbacks_and_the_reason_is_fit_for_a_header(
    policy: Policy, facts: RequestFacts, view: View
) -> None:
    found = match(policy, facts)
    result = choose(found, view)
    if isinstance(result, Plan):
        assert result.reason.isascii()
        assert result.reason.isprintable()
        assert len(result.reason) < 200
        candidates = named(policy, found.route.candidates, facts)
        places = [group in candidates for group in result.candidates]
        # A candidate without a price may come back as a fallback.
        priced = [p for g, p in zip(result.candidates, places, strict=True) if view.catalogue[g].price is not None]
        assert priced == sorted(priced, reverse=True)


@given(condition=conditions, facts=requests)
@example(condition=Match(), facts=RequestFacts(
    dialect="chat", requested_model="", tenant="", session="", tags=frozenset(), input_tokens=0,
    max_output_tokens=None, needs=frozenset(), allowed_models=None,
))  # fmt: skip
def test_a_condition_and_its_negation_never_agree(condition: Match, facts: RequestFacts) -> None:
    def holds(one: Match) -> bool:
        routes = (_route("yes", one), _route("no", Match()))
        return match(Policy(name="p", version="v", source="s", models={}, routes=routes), facts).route.name == "yes"

    assert holds(condition) != holds(Match(none=(condition,)))
    assert holds(condition) == holds(Match(all=(condition,))) == holds(Match(any_of=(condition,)))


def _route(name: str, condition: Match) -> Route:
    return Route(
        name=name,
        match=condition,
        candidates=("a",),
        selector="fixed",
        fallbacks=(),
        deadline_s=1.0,
        max_output_tokens=None,
        cache=CacheRules(),
    )


@given(policy=policies, facts=requests)
def test_an_index_finds_the_route_that_trying_them_all_finds(policy: Policy, facts: RequestFacts) -> None:
    indexed = replace(policy, index=index_of(policy.routes, few=0))
    assert match(indexed, facts) == match(policy, facts)
