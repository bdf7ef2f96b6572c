"""The debate pipeline as a chat model, `pipeline/debate`, for bots that can only change their base URL."""

from __future__ import annotations

import asyncio
import json

from openai import AsyncOpenAI

from tests.http.conftest import StartGateway
from tests.http.debating import ANALYSIS, FALLACY, TEXT, said, script
from tests.http.folding import folded
from tests.http.running import Gateway
from tests.provider import Reply

SIMULATED = """
model_list:
  - {{model_name: small, litellm_params: {{model: simulated/gpt-4o-mini}}, model_info: {{note: "{base}"}}}}
  - {{model_name: large, litellm_params: {{model: simulated/gpt-4o}}}}
"""


async def test_as_a_chat_model_it_answers_in_markdown(gateway: Gateway) -> None:
    gateway.provider.script("up-small", said(ANALYSIS), said(FALLACY))
    answer = await gateway.chat(TEXT, model="pipeline/debate")
    # Both steps asked the cheapest model; which came first is theirs to settle.
    body = answer.json()
    assert (answer.status, body["model"]) == (200, "pipeline/debate")
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["message"]["content"].startswith("# Debate: ")
    assert body["usage"]["prompt_tokens"] > 0


async def test_the_openai_sdk_runs_it_plain_and_streamed_with_the_simulated_models(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(models=SIMULATED, policy=POLICY_OF_GROUPS, simulated_latency_scale="0")
    client = await asyncio.to_thread(AsyncOpenAI, base_url=gateway.url + "/v1", api_key=gateway.key)
    async with client:
        plain = await client.chat.completions.create(
            model="pipeline/debate", messages=[{"role": "user", "content": TEXT}]
        )
        stream = await client.chat.completions.create(
            model="pipeline/debate",
            messages=[{"role": "user", "content": TEXT}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    content = plain.choices[0].message.content or ""
    assert "**Simulated:** no language model read this transcript." in content
    streamed = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    # The last line holds wall times.
    assert streamed.splitlines()[:-1] == content.splitlines()[:-1]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert gateway.provider.requests == []


POLICY_OF_GROUPS = """
version: 1
policy: default
routes:
  - {name: all, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: null}}
"""


async def test_a_streamed_chat_run_ends_in_an_error_event_when_all_steps_fail(gateway: Gateway) -> None:
    script(gateway, analysis=Reply(status=400), fallacy=Reply(status=400))
    answer = await gateway.chat(TEXT, model="pipeline/debate", stream=True)
    *_, last = answer.events()
    assert json.loads(last)["error"]["source"] == "provider"


async def test_a_chat_caller_may_have_the_result_as_json(gateway: Gateway) -> None:
    gateway.provider.always("up-small", said(ANALYSIS))
    answer = await gateway.chat(TEXT, model="pipeline/debate", response_format={"type": "json_object"})
    result = json.loads(folded(answer).text or "")
    assert result["object"] == "pipeline.result"
    assert result["steps"]["analysis"]["status"] == "ok"
