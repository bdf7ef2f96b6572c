"""A session stays where its prefix is warm while that is cheaper, on every worker; the file says whether."""

from __future__ import annotations

from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.provider import Reply

# Without a warm prefix `cheap` wins; with one, `cached` is cheaper than leaving it.
MODELS = """
model_list:
  - {{model_name: cheap, litellm_params: {{model: openai/up-cheap, api_base: "{base}", api_key: sk-provider,
     input_cost_per_token: 1.0e-6, output_cost_per_token: 1.0e-6}}, model_info: {{base_model: gpt-4o-mini}}}}
  - {{model_name: cached, litellm_params: {{model: openai/up-cached, api_base: "{base}", api_key: sk-provider,
     input_cost_per_token: 2.0e-6, output_cost_per_token: 1.0e-6, cache_read_input_token_cost: 1.0e-7}},
     model_info: {{base_model: gpt-4o}}}}
"""
POLICY = """
version: 1
policy: sticky-{kind}
defaults: {{sticky: {kind}}}
routes:
  - {{name: first, match: {{tag: turn=first}}, candidates: [cached], objective: {{minimise: cost}},
      cache: {{exact_ttl: 0}}}}
  - {{name: chat, match: {{any: true}}, candidates: [cheap, cached], objective: {{minimise: cost}},
      cache: {{exact_ttl: 0}}}}
"""
LONG = "A sentence of the debate, said by somebody. " * 300
USAGE = {"prompt_tokens": 3300, "completion_tokens": 4, "total_tokens": 3304}


async def model_of(gateway: Gateway, text: str, **headers: str) -> str:
    """Ask, and return who answered."""
    answer = await gateway.chat(text, headers=headers)
    assert answer.status == 200
    return answer.headers["x-foreword-model"]


async def test_a_session_stays_where_leaving_would_cost_more(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(models=MODELS, policy=POLICY.format(kind="session"))
    gateway.provider.always("*", Reply(usage=USAGE))
    ours = {"x_foreword_session": "s1"}
    assert await model_of(gateway, LONG, x_foreword_tags="turn=first", **ours) == "cached"
    assert await model_of(gateway, LONG + "More.", **ours) == "cached"
    assert await model_of(gateway, LONG + "More.", x_foreword_session="s2") == "cheap"
    # A short prefix is in nobody's cache.
    gateway.provider.always("*", Reply())
    short = {"x_foreword_session": "s3"}
    assert await model_of(gateway, "short", x_foreword_tags="turn=first", **short) == "cached"
    assert await model_of(gateway, "short too", **short) == "cheap"


async def test_another_worker_knows_and_another_tenant_does_not(start_gateway: StartGateway) -> None:
    policy = POLICY.format(kind="transcript")
    one = await start_gateway(models=MODELS, policy=policy)
    one.provider.always("*", Reply(usage=USAGE))
    assert await model_of(one, LONG, x_foreword_tags="turn=first") == "cached"
    other = await start_gateway(models=MODELS, policy=policy)
    made = await other.worker.services.keys.create(one.tenant, name="same tenant")
    assert await model_of(other, LONG) == "cheap"
    other.session.headers["Authorization"] = f"Bearer {made.secret}"
    assert await model_of(other, LONG) == "cached"


async def test_a_policy_that_is_not_sticky_forgets(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(models=MODELS, policy=POLICY.format(kind="none"))
    gateway.provider.always("*", Reply(usage=USAGE))
    assert await model_of(gateway, LONG, x_foreword_session="s", x_foreword_tags="turn=first") == "cached"
    assert await model_of(gateway, LONG, x_foreword_session="s") == "cheap"
