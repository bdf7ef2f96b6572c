"""The OpenAI Python SDK as bots install it, retries and all, over a socket: nothing but its base URL is changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
)
from pydantic import BaseModel

from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.provider import Reply

HELLO: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "hello"}]
WEATHER: Final[ChatCompletionFunctionToolParam] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
QUARTER_AND_MINUS_HALF: Final = "AACAPgAAAL8="
"""0.25 and -0.5 as little-endian float32 in base64."""
WITH_USAGE: Final[ChatCompletionStreamOptionsParam] = {"include_usage": True}


class Verdict(BaseModel):
    """What the structured-output test asks for."""

    sound: bool
    why: str


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    """The SDK with everything as shipped: 2 retries, a read timeout of 600 s. Reading certificates blocks."""
    made = await asyncio.to_thread(AsyncOpenAI, base_url=gateway.url + "/v1", api_key=gateway.key)
    assert made.max_retries == 2
    yield made
    await made.close()


async def test_a_plain_answer_is_the_providers(gateway: Gateway, client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="small", messages=HELLO)
    assert answer.choices[0].message.content == "Hello there, bot."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 4)


async def test_the_sdks_own_headers_reach_no_provider(gateway: Gateway, client: AsyncOpenAI) -> None:
    answer = await client.with_options(timeout=0.75).chat.completions.create(model="small", messages=HELLO)
    assert answer.choices
    [seen] = gateway.provider.requests
    assert not [name for name in seen.headers if name.startswith("x-stainless")]
    assert seen.headers["authorization"] == "Bearer sk-provider-small"


async def test_a_stream_says_the_same_without_usage(client: AsyncOpenAI) -> None:
    chunks = [chunk async for chunk in await client.chat.completions.create(model="small", messages=HELLO, stream=True)]
    assert _text(chunks) == "Hello there, bot."
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_heartbeats_on_a_stream_are_nothing_to_the_sdk(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(heartbeat_s="0.02")
    gateway.provider.script("up-small", Reply(delay_s=0.1))
    made = await asyncio.to_thread(AsyncOpenAI, base_url=gateway.url + "/v1", api_key=gateway.key)
    async with made as client:
        stream = await client.chat.completions.create(model="small", messages=HELLO, stream=True)
        assert "x-foreword-model" not in stream.response.headers, "the head came with a heartbeat"
        assert _text([chunk async for chunk in stream]) == "Hello there, bot."


async def test_a_stream_with_include_usage_ends_with_it(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="small", messages=HELLO, stream=True, stream_options=WITH_USAGE)
    chunks = [chunk async for chunk in stream]
    assert _text(chunks) == "Hello there, bot."
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 15


async def test_a_tool_call_arrives_whole(gateway: Gateway, client: AsyncOpenAI) -> None:
    gateway.provider.script("up-small", Reply(tool_arguments='{"city": "Oslo"}', finish_reason="tool_calls"))
    answer = await client.chat.completions.create(model="small", messages=HELLO, tools=[WEATHER])
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert (calls[0].id, calls[0].function.arguments) == ("call_1", '{"city": "Oslo"}')


async def test_a_streamed_tool_call_is_put_together_by_the_sdk(gateway: Gateway, client: AsyncOpenAI) -> None:
    gateway.provider.script("up-small", Reply(tool_arguments='{"city": "Oslo"}', finish_reason="tool_calls"))
    async with client.chat.completions.stream(model="small", messages=HELLO, tools=[WEATHER]) as stream:
        answer = await stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"city": "Oslo"}'
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_structured_output_is_parsed_into_the_bots_own_type(gateway: Gateway, client: AsyncOpenAI) -> None:
    gateway.provider.script("up-small", Reply(words=('{"sound": ', 'true, "why": "it holds"}')))
    answer = await client.chat.completions.parse(model="small", messages=HELLO, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(sound=True, why="it holds")
    sent = gateway.provider.requests[0].json()["response_format"]
    assert isinstance(sent, dict)
    assert (sent["type"], sent["json_schema"]["name"]) == ("json_schema", "Verdict")


async def test_several_answers_and_logprobs_pass_through(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="small", messages=HELLO, n=2, logprobs=True, top_logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert [token.token for token in choice.logprobs.content] == ["Hello", " there", ", bot", "."]


async def test_streamed_logprobs_of_several_answers_pass_through(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="small", messages=HELLO, n=2, logprobs=True, stream=True)
    tokens: dict[int, list[str]] = {0: [], 1: []}
    async for chunk in stream:
        for choice in chunk.choices:
            if choice.logprobs is not None and choice.logprobs.content:
                tokens[choice.index] += [token.token for token in choice.logprobs.content]
    assert tokens == {0: ["Hello", " there", ", bot", "."], 1: ["Hello", " there", ", bot", "."]}


async def test_legacy_functions_pass_through(gateway: Gateway, client: AsyncOpenAI) -> None:
    call = {"name": "look_up", "arguments": '{"city": "Oslo"}'}
    message: dict[str, object] = {"role": "assistant", "content": None, "function_call": call}
    gateway.provider.script("up-small", Reply(body=_completion(message, "function_call")))
    answer = await client.chat.completions.create(
        model="small", messages=HELLO, functions=[{"name": "look_up", "parameters": {}}], function_call="auto"
    )
    assert answer.choices[0].message.function_call is not None
    assert answer.choices[0].message.function_call.arguments == '{"city": "Oslo"}'
    assert gateway.provider.requests[0].json()["function_call"] == "auto"


async def test_embeddings_come_as_floats(gateway: Gateway, client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    assert [entry.embedding for entry in answer.data] == [[0.25, -0.5], [0.25, -0.5]]
    assert answer.usage.prompt_tokens == 5


async def test_embeddings_in_base64_which_the_sdk_asks_for_by_itself_are_decoded(
    gateway: Gateway, client: AsyncOpenAI
) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": QUARTER_AND_MINUS_HALF}]
    body = {"object": "list", "data": data, "model": "up-embed", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    gateway.provider.script("up-embed", Reply(body=json.dumps(body)))
    answer = await client.embeddings.create(model="embed", input="a")
    assert gateway.provider.requests[0].json()["encoding_format"] == "base64"
    assert list(answer.data[0].embedding) == [0.25, -0.5]


async def test_the_models_are_listed_and_shown_one_by_one(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert listed == ["embed", "large", "small", "pipeline/debate"]
    assert (await client.models.retrieve("small")).owned_by == "openai"


async def test_a_wrong_key_is_an_authentication_error(gateway: Gateway, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await client.with_options(api_key="sk-of-somebody-else").chat.completions.create(model="small", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert gateway.provider.requests == []


async def test_an_unknown_model_is_a_not_found_error(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9-imaginary", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_a_wrong_field_is_a_bad_request_error_that_names_it(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="small", messages=HELLO, extra_body={"temperature": "hot"})
    assert caught.value.param == "temperature"


async def test_a_providers_rate_limit_is_waited_for_by_the_sdk(gateway: Gateway, client: AsyncOpenAI) -> None:
    limited = Reply(status=429, headers={"Retry-After": "300", "retry-after-ms": "1"})
    gateway.provider.script("up-small", limited, limited)
    gateway.provider.script("up-large", limited, limited)
    answer = await client.chat.completions.create(model="small", messages=HELLO)
    assert answer.choices[0].message.content == "Hello there, bot."
    assert [outcome.status for outcome in gateway.outcomes] == [429, 200]


async def test_a_persistent_rate_limit_is_a_rate_limit_error_with_its_wait(
    gateway: Gateway, client: AsyncOpenAI
) -> None:
    # Longer than the route's deadline: nobody waits for it here.
    gateway.provider.always("*", Reply(status=429, headers={"Retry-After": "30"}))
    with pytest.raises(openai.RateLimitError) as caught:
        await client.with_options(max_retries=0).chat.completions.create(model="small", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "30"
    assert caught.value.response.headers["retry-after-ms"] == "30000"
    assert caught.value.body == {
        "message": "scripted 429 (after 2 attempts)",
        "type": "scripted",
        "param": None,
        "code": "rate_limit_exceeded",
        "source": "provider",
    }


@pytest.mark.parametrize(("status", "shown"), [(500, 502), (503, 503), (529, 503)])
async def test_a_persistent_5xx_costs_the_bot_one_call(
    gateway: Gateway, client: AsyncOpenAI, status: int, shown: int
) -> None:
    gateway.provider.always("*", Reply(status=status))
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="small", messages=HELLO)
    assert caught.value.status_code == shown
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.outcomes) == 1


async def test_a_stream_that_fails_in_the_middle_raises_in_the_bot(gateway: Gateway, client: AsyncOpenAI) -> None:
    gateway.provider.script("up-small", Reply(fault="cut", after_events=3))
    chunks: list[ChatCompletionChunk] = []

    async def listen() -> None:
        async for chunk in await client.chat.completions.create(model="small", messages=HELLO, stream=True):
            chunks.append(chunk)  # noqa: PERF401 - what came before the error is the point

    with pytest.raises(openai.APIError) as caught:
        await listen()
    assert _text(chunks) == "Hello there"
    assert caught.value.code == "stream_cut"


def _text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def _completion(message: dict[str, object], finish_reason: str) -> str:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "up-small"}
    return json.dumps({**answer, "choices": [choice], "usage": usage})
