"""Answers told again: streamed or whole, whichever way they were first made, the content is the same."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.codec import StoredAnswer, assemble, body_of, decode, disassemble, encode, event, events_of
from router.types import Usage

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m-1", "system_fingerprint": "fp"}
USAGE = Usage(input_tokens=5, output_tokens=3, cached_tokens=2)


def chunk(delta: dict[str, object], finish: str | None = None, index: int = 0) -> bytes:
    return event({**HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def stored(form: str, payload: bytes, usage_event: bytes | None = None) -> StoredAnswer:
    return StoredAnswer(
        form="sse" if form == "sse" else "json",
        payload=payload,
        usage_event=usage_event,
        usage=USAGE,
        finish_reasons=("stop",),
        routed_model="m",
        response_model="m-1",
        provider="p",
        is_simulated=False,
        cost_nanousd=9,
        created_at=0.0,
        ttl_s=1.0,
        writer="k",
        policy_version="v",
    )


def test_a_stream_becomes_the_body_that_the_provider_would_have_sent() -> None:
    events = b"".join(
        [
            chunk({"role": "assistant", "content": "", "refusal": None}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo", "reasoning_content": "hm"}),
            chunk({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g"}}]}),
            chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}]}),
            chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"arguments": '{"x"'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
            chunk({}, "tool_calls"),
        ]
    )
    body = orjson.loads(assemble(events, usage=USAGE))
    assert body["object"] == "chat.completion"
    assert {k: body[k] for k in ("id", "created", "model", "system_fingerprint")} == {
        "id": "c1",
        "created": 7,
        "model": "m-1",
        "system_fingerprint": "fp",
    }
    [choice] = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g"}},
        ],
    }
    assert body["usage"]["prompt_tokens"] == 5
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 2


def test_the_providers_own_usage_is_kept_to_the_letter() -> None:
    own = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "odd": {"x": 1}}
    events = chunk({"content": "a"}, "stop") + event({**HEAD, "choices": [], "usage": own})
    assert orjson.loads(assemble(events, usage=USAGE))["usage"] == own


def test_choices_are_kept_apart_and_in_order() -> None:
    events = chunk({"content": "b"}, "length", 1) + chunk({"content": "a"}, "stop", 0)
    choices = orjson.loads(assemble(events, usage=USAGE))["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


TEXT = st.text(max_size=30)
CALL = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=5),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}),
    }
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT},
    optional={
        "reasoning_content": TEXT,
        "tool_calls": st.lists(CALL, min_size=1, max_size=3),
        "annotations": st.just([]),
    },
)


@given(messages=st.lists(MESSAGE, min_size=1, max_size=3), logprobs=st.booleans())
def test_whole_to_stream_and_back_loses_nothing(messages: list[dict[str, object]], logprobs: bool) -> None:
    choices = []
    for index, message in enumerate(messages):
        choice: dict[str, object] = {"index": index, "message": message, "finish_reason": "stop"}
        if logprobs:
            choice["logprobs"] = {"content": [{"token": "a", "logprob": -0.5}], "refusal": None}
        choices.append(choice)
    body = {**HEAD, "object": "chat.completion", "choices": choices, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    content, usage = disassemble(orjson.dumps(body))
    assert usage is not None
    assert orjson.loads(assemble(content + usage, usage=USAGE)) == body


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_a_stored_stream_reads_the_same_streamed_and_whole(pieces: list[str]) -> None:
    payload = b"".join(chunk({"content": piece}) for piece in pieces) + chunk({}, "stop")
    answer = stored("sse", payload)
    again = decode(encode(answer))
    assert again == answer
    assert events_of(answer, include_usage=False) == (payload,)
    assert orjson.loads(body_of(answer))["choices"][0]["message"]["content"] == "".join(pieces)


@pytest.mark.parametrize("form", ["sse", "json"])
def test_the_usage_event_is_sent_only_where_asked_for(form: str) -> None:
    payload = chunk({"content": "a"}, "stop")
    answer = stored(form, payload if form == "sse" else assemble(payload, usage=USAGE))
    without = b"".join(events_of(answer, include_usage=False))
    asked = b"".join(events_of(answer, include_usage=True))
    assert b'"usage"' not in without
    assert asked.startswith(without)
    usage = orjson.loads(asked[len(without) :].removeprefix(b"data: "))
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 8


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x93\x01\x02\x03", encode(stored("sse", b""))[:-3]])
def test_a_damaged_entry_is_a_miss(raw: bytes) -> None:
    assert decode(raw) is None
