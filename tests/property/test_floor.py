"""What a quality floor keeps for every policy, request, state of knowledge and draw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json, structs

from policies.arms import arm_of
from policies.decide import choose, match, output_cap
from policies.decision import Decision, decided
from policies.evidence import Evidence, Labels, Latency
from policies.model import (
    CacheRules,
    Match,
    NoCandidate,
    Plan,
    Policy,
    RequestFacts,
    Route,
    View,
    Warm,
)
from policies.quality import predict
from policies.rules import KnnRules, LatencyRules, QualityRules
from tests.property.test_decide import GROUPS, card_strategy, may_serve, named, names, requests

shares = st.floats(0, 1)
labels = st.builds(lambda n, mean: Labels(n, n * mean), st.floats(0, 500), shares)
tables = st.dictionaries(st.sampled_from(GROUPS), labels)
figures = st.none() | st.floats(1, 10_000)
evidences = st.builds(
    Evidence,
    version=st.just("7-0@1"),
    task=tables,
    near=st.none() | tables,
    shares=st.dictionaries(st.sampled_from(GROUPS), shares),
    uplift_low=st.none() | st.floats(-1, 1),
)
views = st.builds(
    View,
    catalogue=st.fixed_dictionaries({}, optional={group: card_strategy(group) for group in GROUPS}),
    unhealthy=st.frozensets(st.sampled_from(GROUPS), max_size=2),
    draw=st.floats(0, 1, exclude_max=True),
    warm=st.none() | st.builds(Warm, group=st.sampled_from(GROUPS), tokens=st.integers(0, 10**6)),
    evidence=evidences,
    latency=st.dictionaries(
        st.sampled_from(GROUPS), st.builds(Latency, p95_first_token_ms=figures, p95_total_ms=figures)
    ),
)
routes = st.builds(
    Route,
    name=st.just("floor"),
    match=st.just(Match()),
    candidates=names,
    selector=st.just("quality_floor"),
    fallbacks=names | st.just(()),
    below_floor=st.just(()) | st.tuples(st.sampled_from(GROUPS)),
    deadline_s=st.just(60.0),
    max_output_tokens=st.none() | st.integers(1, 10**5),
    cache=st.just(CacheRules()),
    quality=st.builds(QualityRules, floor=st.floats(0.01, 1), confidence=st.floats(0.5, 1)),
    knn=st.builds(KnnRules, control=st.floats(0, 0.5)),
    latency=st.none() | st.builds(LatencyRules, p95_first_token_ms=figures, p95_total_ms=figures),
)
priors = st.dictionaries(st.sampled_from(GROUPS), st.dictionaries(st.sampled_from(("v", "any")), shares))
policies = st.builds(
    lambda route, priors, reference: Policy(
        name="p",
        version="v",
        source="p.yaml",
        models={"alias-1": "a", "alias-2": "b"},
        routes=(route,),
        quality_priors=priors,
        reference=reference,
    ),
    routes,
    priors,
    st.sampled_from(GROUPS),
)


@given(policy=policies, facts=requests, view=views)
def test_nobody_outside_the_route_the_allow_list_or_the_window_is_ever_in_the_plan(
    policy: Policy, facts: RequestFacts, view: View
) -> None:
    result = choose(match(policy, facts), view)
    route = policy.routes[0]
    listed = {*named(policy, route.candidates, facts), *named(policy, route.fallbacks, facts)}
    if isinstance(result, Plan):
        assert set(result.candidates) <= listed
        assert all(may_serve(view.catalogue[g], facts, output_cap(route, facts)) for g in result.candidates)
        assert len(set(result.candidates)) == len(result.candidates)
        assert {rejection.candidate for rejection in result.rejected}.isdisjoint(result.candidates)


@given(policy=policies, facts=requests, view=views)
def test_nobody_below_the_floor_is_in_the_plan_but_whom_the_control_arm_drew_or_the_file_excuses(
    policy: Policy, facts: RequestFacts, view: View
) -> None:
    route = policy.routes[0]
    result = choose(match(policy, facts), view)
    assert route.knn is not None
    assert route.quality is not None
    assert policy.reference is not None
    arm = arm_of(route.knn, view.evidence, view.draw)
    if isinstance(result, NoCandidate):
        return
    assert result.arm == arm

    def known(use_neighbours: bool) -> tuple[frozenset[str], frozenset[str]]:
        assert route.quality is not None
        assert policy.reference is not None
        found = predict(
            GROUPS,
            rules=route.quality,
            reference=policy.reference,
            priors=policy.quality_priors,
            task="v" if "task=v" in facts.tags else "any",
            evidence=view.evidence,
            use_neighbours=use_neighbours,
        )
        return (
            frozenset(g for g in GROUPS if found.reaches(g)),
            frozenset(g for g in GROUPS if found.may_stand_in(g)),
        )

    fallbacks = set(named(policy, route.fallbacks, facts))
    excused = set(named(policy, route.below_floor, facts)) & fallbacks
    good = known(arm == "learned")[0] | (known(False)[1] & fallbacks) | excused
    drawn = {result.candidates[0]} if arm == "control" else set()
    later = set(result.candidates) - drawn
    assert later <= good
    if arm == "control" and not drawn <= good:
        assert drawn <= set(named(policy, route.candidates, facts))


@given(policy=policies, facts=requests, view=views)
def test_what_was_seen_survives_the_ledger_and_repeats_the_decision(
    policy: Policy, facts: RequestFacts, view: View
) -> None:
    made = choose(match(policy, facts), view)
    recorded = json.decode(json.encode(decided(facts, view, made, catalogue="")), type=Decision)
    assert recorded.view is not None
    again = structs.replace(recorded.view, catalogue=view.catalogue)
    assert choose(match(policy, facts), again) == made


@given(policy=policies, facts=requests, view=views)
def test_who_is_too_slow_answers_only_where_every_candidate_is(policy: Policy, facts: RequestFacts, view: View) -> None:
    route = policy.routes[0]
    result = choose(match(policy, facts), view)
    if isinstance(result, NoCandidate) or route.latency is None:
        return
    dropped = {rejection.candidate for rejection in result.rejected if rejection.code == "too_slow"}
    assert dropped.isdisjoint(result.candidates)
    unbounded = structs.replace(view, latency={})
    assert not dropped or choose(match(policy, facts), unbounded) != result
