"""Real bots' own bodies, as measured: they work with nothing changed but the base URL."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from tests.http.conftest import StartGateway
from tests.http.folding import Json, folded, until_callers, until_no_calls
from tests.http.running import Gateway
from tests.provider import Reply

NORMALISED = """
version: 1
policy: discord
routes:
  - name: chat
    match: {any: true}
    candidates: [requested]
    cache: {exact_ttl: 1h, normalise: [clock_in_system, user_mention_prefix]}
"""


def llmcord(clock: str, user: str, said: str) -> Json:
    """What llmcord sends: no stream_options, the time in the system prompt, the user's mention before the text."""
    system = f"You are a snarky Discord bot.\nToday's date: November 22 2026\nCurrent time: {clock} UTC"
    return {
        "model": "small",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": f"<@{user}>: {said}"}],
        "stream": True,
        "max_tokens": 4096,
        "temperature": 0.3,
    }


async def test_llmcord_hits_the_cache_in_spite_of_its_clock(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=NORMALISED)
    first = await gateway.post("/v1/chat/completions", llmcord("14:03:59", "1234567890", "what is a straw man?"))
    second = await gateway.post("/v1/chat/completions", llmcord("14:04:07", "9876543210", "what is a straw man?"))
    other = await gateway.post("/v1/chat/completions", llmcord("14:04:07", "1234567890", "and a red herring?"))
    assert [answer.headers["x-foreword-cache"] for answer in (first, second, other)] == ["miss", "hit", "miss"]
    assert folded(second).text == folded(first).text == "Hello there, bot."
    assert folded(first).usage is None
    # The provider gets the clock and the mention; only the key ignores them.
    assert "14:03:59" in json.dumps(gateway.provider.requests[0].json())
    assert "<@1234567890>" in json.dumps(gateway.provider.requests[0].json())


async def test_without_that_policy_the_clock_makes_every_request_new(gateway: Gateway) -> None:
    for clock in ("14:03:59", "14:04:07"):
        answer = await gateway.post("/v1/chat/completions", llmcord(clock, "1", "hi"))
        assert answer.headers["x-foreword-cache"] == "miss"


async def test_a_slack_bot_that_hangs_up_before_done_is_served_and_counted(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="usage", gate_at=6))
    body = {
        "model": "small",
        "messages": [{"role": "system", "content": "You are a bot."}, {"role": "user", "content": "hi"}],
        "top_p": 1,
        "n": 1,
        "max_tokens": 1024,
        "temperature": 0,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logit_bias": {},
        "user": "U0123",
        "functions": [{"name": "look_up", "parameters": {"type": "object", "properties": {}}}],
        "stream": True,
    }
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
        seen = b""
        while b'"finish_reason": "stop"' not in seen:
            seen += await answer.content.readany()
        answer.close()
    await until_callers(gateway, 0)
    gateway.provider.open_gate("usage")
    await until_no_calls(gateway)
    [outcome] = gateway.outcomes
    assert (outcome.result, outcome.usage.output_tokens, outcome.usage.is_estimated) == ("ok", 4, False)
    sent = gateway.provider.requests[0].json()
    assert {name: sent[name] for name in body if name not in ("model", "stream")} == {
        name: value for name, value in body.items() if name not in ("model", "stream")
    }
    # The defaults that this library spells out are no other question.
    spare = {name: body[name] for name in ("model", "messages", "max_tokens", "temperature", "functions")}
    assert (await gateway.post("/chat/completions", spare)).headers["x-foreword-cache"] == "hit"


async def test_langchains_embeddings_in_base64_pass_through(gateway: Gateway) -> None:
    data = [{"object": "embedding", "index": index, "embedding": "AACAPgAAAL8="} for index in range(2)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    told = json.dumps({"object": "list", "data": data, "model": "up-embed", "usage": usage})
    gateway.provider.script("up-embed", Reply(body=told))
    # LangChain sends token ids, not text.
    body = {"input": [[9906, 1917], [15339]], "model": "embed", "encoding_format": "base64"}
    first, second = await gateway.post("/v1/embeddings", body), await gateway.post("/embeddings", body)
    assert first.body == second.body == told.encode()
    assert second.headers["x-foreword-cache"] == "hit"
    assert gateway.provider.requests[0].json() == {**body, "model": "up-embed"}
    assert gateway.outcomes[0].usage.input_tokens == 4


async def test_pydantic_ai_gets_its_forced_tool_call_and_usage(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(tool_arguments='{"sound":true}', finish_reason="tool_calls"))
    tool = {
        "type": "function",
        "function": {"name": "look_up", "description": "", "parameters": {"type": "object"}, "strict": True},
    }
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Judge this."}]}],
        "tools": [tool],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }
    answer = folded(await gateway.post("/v1/chat/completions", body))
    [call] = answer.choices[0]["message"]["tool_calls"]
    assert call["function"] == {"name": "look_up", "arguments": '{"sound":true}'}
    assert answer.usage is not None
    sent = gateway.provider.requests[0].json()
    assert sent == {**body, "model": "up-small"}


async def test_the_debate_bot_needs_no_key_where_that_is_switched_on(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(allow_unauthenticated_loopback=True)
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "List the fallacies in this debate: ..."}],
        "provider": {"order": ["Fireworks", "Together"], "allow_fallbacks": False},
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(gateway.url + "/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["choices"][0]["message"]["content"] == "Hello there, bot."
    assert gateway.provider.requests[0].json() == {**body, "model": "up-small"}
    assert gateway.outcomes[0].tenant == "local"


async def test_a_bot_that_retries_a_dead_provider_costs_it_few_calls(gateway: Gateway) -> None:
    """A Red cog wraps the SDK's 3 tries in 5 of its own; it asks all at once here, and all share one failing call."""
    gateway.provider.always("*", Reply(status=400, gate="answer"))
    async with asyncio.TaskGroup() as group:
        for _ in range(15):
            group.create_task(gateway.chat("again and again"))
        await until_callers(gateway, 15)
        gateway.provider.open_gate("answer")
    assert len(gateway.provider.requests) == 1
