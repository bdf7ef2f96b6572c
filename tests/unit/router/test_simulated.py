"""The simulated backend: honest, deterministic, schema-valid, in the shapes of the OpenAI API."""

from __future__ import annotations

import array
import asyncio
import base64
import json
import math
import random
from collections.abc import Mapping

import orjson
import pytest
from jsonschema import Draft202012Validator

from policies.model import Dialect
from router.backends.simulated import SimulatedBackend
from router.simulation.instance import smallest
from router.simulation.pace import pace_of
from router.types import Call, ChatRequest, Deployment, Streamed, Whole
from tests.clock import FakeClock

Json = dict[str, object]


def call_of(
    document: Mapping[str, object], *, stream: bool = False, dialect: Dialect = "chat", model: str = "m"
) -> Call:
    body = orjson.dumps(document)
    request = ChatRequest(
        dialect=dialect,
        body=body,
        document=orjson.loads(body),
        requested_model="m",
        stream=stream,
        include_usage=False,
    )
    deployment = Deployment(
        id="d", group="m", provider="p", model=model, backend="simulated", api_base="", secret="", price=None
    )
    return Call(request=request, deployment=deployment, stream=stream, max_output_tokens=None, traceparent=None)


def chat(text: str, **fields: object) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


async def whole(document: Mapping[str, object], *, dialect: Dialect = "chat", model: str = "m", seed: int = 0) -> Json:
    backend = SimulatedBackend(clock=FakeClock(), scale=0.0, seed=seed)
    answer = await backend.send(call_of(document, dialect=dialect, model=model))
    assert isinstance(answer, Whole)
    decoded: Json = orjson.loads(answer.body)
    return decoded


async def events(document: Mapping[str, object]) -> list[Json]:
    answer = await SimulatedBackend(clock=FakeClock(), scale=0.0).send(call_of(document, stream=True))
    assert isinstance(answer, Streamed)
    blocks = b"".join([chunk async for chunk in answer.chunks]).split(b"\n\n")
    assert blocks[-2:] == [b"data: [DONE]", b""]
    return [orjson.loads(block.removeprefix(b"data: ")) for block in blocks[:-2]]


def message_of(answer: Json) -> Json:
    choices = answer["choices"]
    assert isinstance(choices, list)
    message: Json = choices[0]["message"]
    return message


async def test_ordinary_chat_says_that_no_model_read_it() -> None:
    answer = await whole(chat("What is a tram?"), model="gpt-4o-mini")
    content = message_of(answer)["content"]
    assert isinstance(content, str)
    assert content.startswith("[simulated] No language model read this")
    assert "What is a tram?" in content
    assert answer["model"] == "simulated/gpt-4o-mini"


async def test_equal_requests_have_equal_answers_and_different_ones_do_not() -> None:
    assert await whole(chat("one")) == await whole(chat("one"))
    assert message_of(await whole(chat("one"))) != message_of(await whole(chat("two")))


async def test_streamed_and_unstreamed_answers_hold_the_same_text_and_usage() -> None:
    answer, chunks = await whole(chat("hello  there\nfriend")), await events(chat("hello  there\nfriend"))
    text = "".join(
        choice["delta"].get("content", "")
        for chunk in chunks
        if isinstance(choices := chunk["choices"], list)
        for choice in choices
    )
    assert text == message_of(answer)["content"]
    assert chunks[-1]["usage"] == answer["usage"]
    assert chunks[-1]["choices"] == []


async def test_max_tokens_cuts_the_text_and_says_length() -> None:
    answer = await whole(chat("word " * 50, max_tokens=5))
    choices = answer["choices"]
    assert isinstance(choices, list)
    assert choices[0]["finish_reason"] == "length"
    assert len(choices[0]["message"]["content"]) == 20
    usage = answer["usage"]
    assert isinstance(usage, dict)
    assert usage["completion_tokens"] == 5


TOOL: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
async def test_a_forced_tool_is_called_with_arguments_that_fit(choice: object) -> None:
    answer = await whole(chat("weather?", tools=[TOOL], tool_choice=choice))
    calls = message_of(answer)["tool_calls"]
    assert isinstance(calls, list)
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "simulated", "days": 2}


async def test_a_streamed_tool_call_assembles_to_the_unstreamed_one() -> None:
    request = chat("weather?", tools=[TOOL], tool_choice="required")
    expected = message_of(await whole(request))["tool_calls"]
    assert isinstance(expected, list)
    arguments = ""
    for chunk in await events(request):
        choices = chunk["choices"]
        assert isinstance(choices, list)
        for choice in choices:
            for part in choice["delta"].get("tool_calls", ()):
                arguments += part["function"]["arguments"]
    assert arguments == expected[0]["function"]["arguments"]


async def test_tools_that_are_not_forced_get_text() -> None:
    message = message_of(await whole(chat("weather?", tools=[TOOL], tool_choice="auto")))
    assert "tool_calls" not in message
    assert message["content"]


async def test_embeddings_are_unit_vectors_equal_for_equal_texts() -> None:
    answer = await whole({"model": "m", "input": ["a", "b", "a"], "dimensions": 64}, dialect="embeddings")
    data = answer["data"]
    assert isinstance(data, list)
    first, second, third = (row["embedding"] for row in data)
    assert first == third != second
    assert math.isclose(math.hypot(*first), 1.0, abs_tol=1e-5)
    assert len(first) == 64


async def test_base64_embeddings_decode_to_the_plain_ones() -> None:
    request: Json = {"model": "m", "input": "a", "dimensions": 8}
    plain = (await whole(request, dialect="embeddings"))["data"]
    coded = (await whole({**request, "encoding_format": "base64"}, dialect="embeddings"))["data"]
    assert isinstance(plain, list)
    assert isinstance(coded, list)
    assert array.array("f", base64.b64decode(coded[0]["embedding"])).tolist() == plain[0]["embedding"]


SCHEMAS: list[Json] = [
    {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 3}}, "required": ["n"]},
    {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}, "required": ["x"], "$defs": {"X": {"enum": [7, 8]}}},
    {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "number"}, "minItems": 3}},
        "required": ["a"],
    },
    {"anyOf": [{"type": "null"}, {"type": "object", "properties": {}}]},
    {"type": "object", "properties": {"s": {"type": "string", "minLength": 40}}, "required": ["s"]},
    {"type": "object", "properties": {"s": {"type": ["string", "null"], "maxLength": 3}}, "required": ["s"]},
    {
        "type": "object",
        "properties": {"p": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}},
        "required": ["p"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_structured_outputs_fit_their_schema(schema: Json) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "anything", "schema": schema}}
    content = message_of(await whole(chat("go", response_format=wanted)))["content"]
    assert isinstance(content, str)
    Draft202012Validator(schema).validate(json.loads(content))


def test_a_schema_that_refers_to_itself_ends() -> None:
    node: Json = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert isinstance(smallest(node), dict)


def test_pace_has_the_asked_median_and_tail() -> None:
    rng = random.Random(7)
    firsts = sorted(pace_of("gpt-4o", rng=rng, scale=1.0).first_token_s for _ in range(4000))
    assert 0.65 < firsts[2000] < 0.75
    assert 1.6 < firsts[3800] < 2.0


async def test_waits_follow_the_pace_and_the_scale() -> None:
    clock = FakeClock()
    backend = SimulatedBackend(clock=clock, scale=1.0)
    waiting = asyncio.ensure_future(backend.send(call_of(chat("hello"), model="gpt-4o")))  # noqa: TID251
    await asyncio.sleep(0)
    assert clock.sleepers == 1
    clock.wind(600.0)
    assert isinstance(await waiting, Whole)
    at_once = SimulatedBackend(clock=FakeClock(), scale=0.0)
    assert isinstance(await at_once.send(call_of(chat("hello"), model="gpt-4o")), Whole)


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m", "messages": "no list"},
        {"model": "m", "messages": [1, {"role": 2}, {"role": "user", "content": [{"type": "image_url"}, 3]}]},
        chat("x", n=3),
        chat("x", response_format={"type": "json_schema"}),
        chat("x", tools=[{}], tool_choice="required"),
        chat("x", function_call={"name": "f"}, functions=[{"name": "f"}]),
    ],
)
async def test_odd_requests_still_get_an_answer(document: Json) -> None:
    choices = (await whole(document))["choices"]
    assert isinstance(choices, list)
    assert len(choices) == document.get("n", 1)
