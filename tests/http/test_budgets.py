"""Budgets and limits over HTTP: headers, refusals in the one error body, and spend that matches what was answered."""

from __future__ import annotations

import asyncio

import pytest

from tests.http.conftest import StartGateway
from tests.http.folding import idle_meters
from tests.http.running import Gateway
from tests.provider import Reply

BUDGETED = """
version: 1
policy: default
budgets:
  - {{scope: tenant, limit_usd: {tenant}, window: month}}
  - {{scope: route, key: tagged, limit_usd: 0.0002, window: month, on_exceed: [downgrade_to_floor, refuse]}}
routes:
  - {{name: tagged, match: {{tag: "task=*"}}, candidates: [large, small], max_output_tokens: 5,
      cache: {{exact_ttl: 0}}}}
  - {{name: chat, match: {{any: true}}, candidates: [requested], fallbacks: [large], max_output_tokens: 50,
      cache: {{exact_ttl: 1h}}}}
"""
LIMITED = """
version: 1
policy: default
rate_limits: [{scope: key, requests_per_minute: 3}, {scope: tenant, tokens_per_minute: 100000}]
routes: [{name: chat, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h}}]
"""


@pytest.fixture
async def rich(start_gateway: StartGateway) -> Gateway:
    """A gateway whose tenant may spend a dollar a month."""
    return await start_gateway(policy=BUDGETED.format(tenant=1))


async def test_what_is_spent_is_what_the_answers_cost_and_nothing_stays_reserved(rich: Gateway) -> None:
    answers = [await rich.chat(f"question {n}", max_tokens=40) for n in range(5)]
    streams = await asyncio.gather(*(rich.chat(f"stream {n}", stream=True) for n in range(5)))
    assert {answer.status for answer in (*answers, *streams)} == {200}
    again = await rich.chat("question 0", max_tokens=40)
    assert again.headers["x-foreword-cache"] == "hit"
    meters = await idle_meters(rich)
    cost = sum(outcome.cost_nanousd or 0 for outcome in rich.outcomes)
    assert cost > 0
    assert list(meters.values()) == [(cost, 0)]
    remaining = float(answers[-1].headers["x-foreword-budget-remaining-usd"])
    assert 0.9 < remaining < 1


async def test_a_failed_call_costs_nothing_and_frees_its_reservation(rich: Gateway) -> None:
    rich.provider.always("*", Reply(status=400, body='{"error": {"message": "no", "type": "invalid_request_error"}}'))
    assert (await rich.chat("fails")).status == 400
    meters = await idle_meters(rich)
    assert set(meters.values()) <= {(0, 0)}


async def test_a_budget_that_is_used_up_refuses_with_its_name_and_the_time_of_the_next_window(
    start_gateway: StartGateway,
) -> None:
    poor = await start_gateway(policy=BUDGETED.format(tenant="0.0000001"))
    refused = await poor.chat("too dear")
    error = refused.json()["error"]
    assert (refused.status, error["code"], error["source"]) == (429, "budget_exceeded", "gateway")
    assert "tenant per month" in error["message"]
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-foreword-budget-remaining-usd"] == "0.000000100"
    assert poor.provider.requests == []


async def test_pressure_takes_the_cheapest_model_of_the_plan_before_it_refuses(rich: Gateway) -> None:
    answer = await rich.chat("x", headers={"x_foreword_tags": "task=a"})
    assert answer.status == 200
    assert answer.headers["x-foreword-model"] == "small"
    assert answer.headers["x-foreword-reason"] == "budget:small"


async def test_a_request_limit_counts_hits_too_and_says_when_it_resets(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=LIMITED)
    answers = [await gateway.chat("same") for _ in range(6)]
    statuses = [answer.status for answer in answers]
    assert statuses[0] == 200
    first = answers[0].headers
    assert first["x-ratelimit-limit-requests"] == "3"
    assert first["x-ratelimit-remaining-requests"] == "2"
    assert first["x-ratelimit-reset-requests"].endswith("s")
    assert first["x-ratelimit-limit-tokens"] == "100000"
    refused = [answer for answer in answers if answer.status == 429]
    # Where a minute ends in between, six fit into two windows.
    has_turned = float(first["x-ratelimit-reset-requests"][:-1]) < float(
        answers[-1].headers["x-ratelimit-reset-requests"][:-1]
    )
    assert len(refused) == (0 if has_turned else 3)
    for answer in refused:
        error = answer.json()["error"]
        assert (error["code"], error["source"]) == ("rate_limit_exceeded", "gateway")
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


async def test_a_providers_rate_limits_do_not_pass_for_the_keys_own(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=LIMITED)
    theirs = {"x-ratelimit-limit-requests": "77", "x-ratelimit-remaining-tokens": "78", "openai-version": "2020-10-01"}
    gateway.provider.script("up-small", Reply(headers=theirs))
    answer = await gateway.chat("one")
    told = [value for name, value in answer.headers.items() if name.lower().startswith("x-ratelimit-")]
    assert len(told) == 6  # limit, remaining and reset, of requests and of tokens: each once
    assert not {"77", "78"} & set(told)
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["openai-version"] == "2020-10-01"


async def test_a_hard_budget_refuses_what_has_no_bound(rich: Gateway) -> None:
    refused = await rich.chat("search", web_search_options={"search_context_size": "low"})
    assert (refused.status, refused.json()["error"]["code"]) == (400, "cost_unbounded")
