"""What a trail makes of itself at the end: every figure under its own name."""

from __future__ import annotations

import msgspec
import pytest

from gateway.cache.codec import StoredAnswer
from gateway.cache.exact import Hit
from gateway.cache.flight import Flight
from gateway.cache.semantic.look import Looked
from gateway.errors import RequestFailed
from gateway.keys import Caller
from gateway.made import made_answer
from gateway.outcome import Outcome
from gateway.trail import Ask, CacheControl, Trail
from policies.decision import Decision, decision_of
from policies.model import CacheRules, Match, Plan, RequestFacts, Route, RouteClass
from router.time_limits import TimeLimits
from router.types import AttemptRecord, ChatRequest, Deployment, Finished, Usage
from tests.clock import FakeClock

ROUTE = Route(
    name="the-route",
    match=Match(),
    candidates=("m",),
    selector="fixed",
    fallbacks=(),
    deadline_s=1.0,
    max_output_tokens=None,
    cache=CacheRules(stale_if_error_s=88.0),
    epoch=5,
)
FACTS = RequestFacts(
    dialect="chat",
    requested_model="the-requested",
    tenant="the-tenant",
    session="the-session",
    tags=frozenset({"b=2", "a=1"}),
    input_tokens=77,
    max_output_tokens=None,
    needs=frozenset(),
    allowed_models=None,
)
ROUTE_CLASS = RouteClass(policy="the-policy", policy_version="the-version", route=ROUTE, facts=FACTS, aliases={})
PLAN = Plan(
    policy="the-policy",
    policy_version="the-version",
    route="the-route",
    candidates=("m",),
    deadline_s=1.0,
    max_output_tokens=None,
    assemble=False,
    cache=ROUTE.cache,
    reason="the-reason",
    arm="control",
)
ATTEMPT = AttemptRecord(
    deployment_id="d",
    group="the-group",
    provider="the-attempts-provider",
    model="m",
    reason="first",
    started_s=0.0,
    ended_s=0.5,
    result="ok",
    usage=Usage(input_tokens=5),
    cost_nanousd=12,
)
ANSWER = StoredAnswer(
    form="json",
    payload=b"{}",
    usage_event=None,
    usage=Usage(input_tokens=3, output_tokens=4),
    finish_reasons=("the-finish",),
    routed_model="the-routed",
    response_model="the-response-model",
    provider="the-provider",
    is_simulated=True,
    cost_nanousd=1234,
    created_at=0.0,
    ttl_s=99.0,
    writer="w",
    policy_version="v",
    warmed_by="popularity",
)
"""Every text and number here is there once, so that none can be told under another's name."""

DEPLOYMENT = Deployment(
    id="d",
    group="the-group",
    provider="the-provider",
    model="m",
    backend="simulated",
    api_base="",
    secret="",
    price=None,
)
HIT_TOLD = Outcome(
    request_id="the-id",
    origin="user",
    endpoint="the-endpoint",
    started_at=1000.5,
    result="ok",
    status=200,
    tenant="the-tenant",
    key_id="the-key-id",
    session="the-session",
    policy="the-policy",
    policy_version="the-version",
    route="the-route",
    reason="semantic-hit",
    tags=("a=1", "b=2"),
    requested_model="the-requested",
    routed_model="the-routed",
    response_model="the-response-model",
    provider="the-provider",
    is_simulated=True,
    stream=True,
    cache="semantic-hit",
    cache_tier="semantic",
    cache_key="the-key",
    age_s=33.0,
    similarity=0.9877,
    nearest_key="the-nearest",
    semantic="the-refusal",
    input_tokens_estimate=77,
    usage=ANSWER.usage,
    cost_nanousd=0,
    saved_nanousd=1234,
    finish_reasons=("the-finish",),
    attempts=(ATTEMPT,),
    total_s=2.0,
    first_token_s=0.25,
    overhead_s=0.125,
    parent_request_id="the-parent",
    decision=decision_of(FACTS),
    ttl_s=99.0,
    warmed_by="popularity",
)


@pytest.fixture
def told() -> list[Outcome]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def trail(clock: FakeClock, told: list[Outcome]) -> Trail:
    request = ChatRequest(
        dialect="chat", body=b"{}", document={}, requested_model="the-requested", stream=True, include_usage=False
    )
    ask = Ask(
        request=request,
        caller=Caller(tenant="the-tenant", key_id="the-key-id", allowed_models=None),
        request_id="the-id",
        endpoint="the-endpoint",
        received_s=clock.monotonic(),
        tags=FACTS.tags,
        parent_request_id="the-parent",
    )
    return Trail(
        ask=ask,
        clock=clock,
        sink=told.append,
        price_of=lambda _: None,
        started_at=1000.5,
        facts=FACTS,
        route_class=ROUTE_CLASS,
        key="the-key",
        first_token_s=0.25,
        head_s=0.125,
        journal=[ATTEMPT],
    )


def test_a_hit_is_told_with_each_figure_under_its_own_name(trail: Trail, clock: FakeClock, told: list[Outcome]) -> None:
    trail.note(Hit(answer=ANSWER, tier="redis", age_s=33.0), cache="semantic-hit", tier="semantic")
    trail.looked = Looked(similarity=0.98765, nearest="the-nearest", refused="the-refusal")
    clock.wind(2.0)
    trail.close_ok()
    assert [msgspec.to_builtins(outcome) for outcome in told] == [msgspec.to_builtins(HIT_TOLD)]


def test_a_calls_own_answer_is_kept_with_each_figure_under_its_own_name(trail: Trail, clock: FakeClock) -> None:
    trail.plan = PLAN
    trail.ask = msgspec.structs.replace(trail.ask, transcript="the-transcript", cache_control=CacheControl(ttl_s=44.0))
    flight = Flight("the-key", limits=TimeLimits(), history_bytes=1000)
    flight.finished = Finished(
        deployment=DEPLOYMENT,
        attempts=(),
        body=b'{"choices": []}',
        usage=Usage(input_tokens=3, output_tokens=4),
        cost_nanousd=1234,
        response_model="the-response-model",
        finish_reasons=("stop",),
        usage_event=b"the-usage-event",
    )
    assert made_answer(trail, flight) == StoredAnswer(
        form="json",
        payload=b'{"choices": []}',
        usage_event=b"the-usage-event",
        usage=Usage(input_tokens=3, output_tokens=4),
        finish_reasons=("stop",),
        routed_model="the-group",
        response_model="the-response-model",
        provider="the-provider",
        is_simulated=True,
        cost_nanousd=1234,
        created_at=clock.now(),
        ttl_s=44.0,
        writer="the-key-id",
        policy_version="the-version",
        stale_s=88.0,
        tenant="the-tenant",
        route="the-route",
        epoch=5,
        tags=("a=1", "b=2"),
        transcript="the-transcript",
    )


def test_a_failure_after_a_choice_is_told_with_its_reason_its_arm_and_its_own_decision(
    trail: Trail, told: list[Outcome]
) -> None:
    trail.plan = PLAN
    trail.decision = Decision(dialect="chat", reason="the-reason", candidates=("m",))
    trail.cache = "miss"
    trail.close_failed(RequestFailed("no", status=429, type="the-type", code="the-code", source="provider"))
    (outcome,) = told
    assert (outcome.result, outcome.status) == ("error", 429)
    assert (outcome.error_code, outcome.error_type, outcome.error_source) == ("the-code", "the-type", "provider")
    assert (outcome.reason, outcome.arm, outcome.decision) == ("the-reason", "control", trail.decision)
    assert (outcome.routed_model, outcome.provider) == ("the-group", "the-attempts-provider")
    assert (outcome.cache, outcome.cache_tier, outcome.ttl_s, outcome.warmed_by) == ("miss", "none", 0.0, "")
    assert outcome.interaction_cost_nanousd == 0
