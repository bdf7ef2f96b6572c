"""A cheap first answer is given only where it passes; both legs are booked; flex is asked for where one can wait."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from gateway.acceptance import schemas, shortcoming
from policies.rules import AcceptRules, AcceptSchema
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.provider import Reply

POLICY = """
version: 1
policy: cascading
routes:
  - name: chat
    match: {any: true}
    candidates: [small, large]
    cascade: {first: small, accept: {no_refusal: true, quotes_present: true}, then: large}
    tier: {prefer: flex, when: {deadline_s: {gt: 20}}}
    cache: {exact_ttl: 0}
"""


def said(text: str, tokens: int = 10) -> Reply:
    """Return a reply with this text."""
    return Reply(
        body=json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "model": "up",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens},
            }
        )
    )


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway whose chat route cascades."""
    return await start_gateway(policy=POLICY)


def asked(gateway: Gateway) -> list[str]:
    """Return the provider's models in the order they were asked."""
    return [str(json.loads(seen.body)["model"]) for seen in gateway.provider.requests]


async def test_a_first_answer_that_passes_is_given_and_nobody_else_is_asked(gateway: Gateway) -> None:
    answer = await gateway.chat("question")
    assert (answer.status, asked(gateway)) == (200, ["up-small"])
    assert answer.headers["x-foreword-model"] == "small"
    assert answer.headers["x-foreword-reason"] == "cascade:small"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_goes_on_to_the_better_model_and_both_are_paid(gateway: Gateway, stream: bool) -> None:
    gateway.provider.always("up-small", Reply(words=("I'm sorry,", " but I can't", " help with that.")))
    gateway.provider.always("up-large", Reply(words=("Of course.",)))
    answer = await gateway.chat("question", stream=stream)
    assert answer.status == 200
    assert b"sorry" not in answer.body
    assert b"Of course." in answer.body
    (outcome,) = gateway.outcomes
    assert [attempt.group for attempt in outcome.attempts] == ["small", "large"]
    assert [attempt.reason for attempt in outcome.attempts] == ["first", "cascade"]
    assert outcome.cost_nanousd == sum(attempt.cost_nanousd or 0 for attempt in outcome.attempts)
    assert all(attempt.cost_nanousd for attempt in outcome.attempts)
    assert outcome.routed_model == "large"


async def test_a_first_model_that_fails_counts_as_not_accepted(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(status=400, body='{"error": {"message": "no"}}'))
    answer = await gateway.chat("question")
    assert (answer.status, answer.headers["x-foreword-model"]) == (200, "large")


@pytest.mark.parametrize(
    ("text", "rules", "lacks"),
    [
        ("Yes.", AcceptRules(no_refusal=True), ""),
        ("I cannot help with that.", AcceptRules(no_refusal=True), "refusal"),
        ('{"fallacies": []}', AcceptRules(json_schema="fallacy_v1"), ""),
        ("no json", AcceptRules(json_schema="fallacy_v1"), "schema"),
        ('{"a": [{"quote": "the sky is green"}]}', AcceptRules(quotes_present=True), "quote"),
        ('{"a": [{"quote": "the sky is blue"}]}', AcceptRules(quotes_present=True), ""),
    ],
)
def test_what_an_answer_lacks_is_named(text: str, rules: AcceptRules, lacks: str) -> None:
    document = {"messages": [{"role": "user", "content": "He said: the sky is  blue."}]}
    body = said(text).body
    assert body is not None
    assert shortcoming(body.encode(), document, rules) == lacks


def test_the_schemas_that_policies_may_name_are_those_of_the_shipped_pipelines() -> None:
    assert set(schemas()) == set(get_args(AcceptSchema))


async def test_flex_is_asked_for_only_where_the_deadline_allows_and_charged_as_the_answer_says(
    start_gateway: StartGateway,
) -> None:
    models = """
model_list:
  - {{model_name: small, litellm_params: {{model: openai/up-small, api_base: "{base}", api_key: sk-provider,
     input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6, input_cost_per_token_flex: 5.0e-7,
     output_cost_per_token_flex: 1.0e-6}}, model_info: {{base_model: gpt-4o-mini}}}}
  - {{model_name: large, litellm_params: {{model: openai/up-large, api_base: "{base}", api_key: sk-provider}}}}
"""
    gateway = await start_gateway(models=models, policy=POLICY)
    reply = json.loads(said("Yes.", tokens=100).body or "")
    gateway.provider.always("up-small", Reply(body=json.dumps({**reply, "service_tier": "flex"})))
    slow = await gateway.chat("can wait")
    hurried = await gateway.chat("cannot", headers={"x_foreword_deadline_ms": "15000"})
    assert (slow.status, hurried.status) == (200, 200)
    bodies = [json.loads(seen.body) for seen in gateway.provider.requests]
    assert [body.get("service_tier") for body in bodies] == ["flex", None]
    assert gateway.outcomes[0].cost_nanousd == 100 * 500 + 100 * 1000


MANY = "model_list:\n" + "".join(
    f'  - {{{{model_name: {name}, litellm_params: {{{{model: openai/up-{name}, api_base: "{{base}}", api_key: k{n}}}}},'
    " model_info: {{base_model: gpt-4o-mini}}}}\n"
    for name in ("small", "large")
    for n in range(4)
)
BUDGET = "budgets: [{scope: tenant, limit_usd: 5, window: day}]\n"


async def test_both_legs_together_make_no_more_attempts_than_were_reserved(start_gateway: StartGateway) -> None:
    policy = POLICY.replace("cascading", "cascading-poor").replace(
        "routes:", "defaults: {max_output_tokens: 50}\nroutes:"
    )
    gateway = await start_gateway(models=MANY, policy=policy + BUDGET, retry_backoff_s="0.001")
    for model in ("up-small", "up-large"):
        gateway.provider.always(model, Reply(status=500))
    answer = await gateway.chat("question")
    assert answer.status >= 500
    made = asked(gateway)
    assert len(made) <= 6  # router/deadlines.py: of one request
    assert set(made) == {"up-small", "up-large"}
