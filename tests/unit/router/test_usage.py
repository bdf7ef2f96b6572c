"""Tokens, finish reasons and errors are read from answers as providers really write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ProviderError
from router.types import ChatRequest, Usage
from router.usage import answer_text_bytes, at_tier, estimated_usage, read_answer, tail_usage, usage_of


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 12},
            },
            Usage(input_tokens=100, output_tokens=20, cached_tokens=64, reasoning_tokens=12),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
            Usage(input_tokens=10, output_tokens=5, cached_tokens=8),
        ),
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 30},
                "cost": 0.5,
            },
            Usage(input_tokens=50, output_tokens=5, cached_tokens=10, cache_write_tokens=30),
        ),
        (
            {"prompt_tokens": 50, "completion_tokens": 5, "cache_creation_input_tokens": 30},
            Usage(input_tokens=50, output_tokens=5, cache_write_tokens=30),
        ),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input_tokens=8)),
        # xAI: reasoning is in the total, not in completion_tokens.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 44,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(input_tokens=10, output_tokens=34, reasoning_tokens=30),
        ),
        # Gemini's OpenAI-shaped endpoint: the thoughts are only in the total.
        (
            {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 20},
            Usage(input_tokens=10, output_tokens=10, reasoning_tokens=6),
        ),
        ({"prompt_tokens": None, "completion_tokens": True, "prompt_tokens_details": None}, Usage()),
        ({"prompt_tokens": -3, "completion_tokens": "x", "prompt_tokens_details": []}, Usage()),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(input_tokens=3, cached_tokens=3)),
        ({}, None),
        ({"queue_time": 0.1}, None),
    ],
)
def test_every_known_usage_shape_becomes_ours(stated: dict[str, object], expected: Usage | None) -> None:
    assert usage_of(stated) == expected


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
names = st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"])
shapes = st.dictionaries(names, numbers)


@given(shapes, shapes, shapes)
def test_no_stated_usage_breaks_the_sums(
    stated: dict[str, object], read: dict[str, object], made: dict[str, object]
) -> None:
    usage = usage_of({**stated, "prompt_tokens_details": read, "completion_tokens_details": made})
    if usage is not None:
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens


@given(shapes, shapes | st.none(), shapes | st.none(), st.sampled_from([None, "flex", "default"]))
def test_usage_is_the_same_however_plainly_it_is_stated(
    stated: dict[str, object], read: dict[str, object] | None, made: dict[str, object] | None, tier: str | None
) -> None:
    usage = {**stated, "prompt_tokens_details": read, "completion_tokens_details": made}
    for shape in (usage, stated):
        body = json.dumps({"choices": [{"finish_reason": "stop"}], "usage": shape, "service_tier": tier, "model": "m"})
        found = read_answer(body.encode(), "chat")
        assert found.usage == (at_tier(usage_of(shape), tier) if shape else None)
        assert (found.finish_reasons, found.response_model, found.error) == (("stop",), "m", None)


def test_a_chat_answer_says_who_answered_how_it_ended_and_what_it_took() -> None:
    text = 'He said "usage": {"prompt_tokens": 999} and "error": {"message": "x"}'
    choices = [{"message": {"content": text}, "finish_reason": "stop"}, {"finish_reason": "length"}]
    body = json.dumps({"model": "m-1", "choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    facts = read_answer(body.encode(), "chat")
    assert facts.usage == Usage(input_tokens=7, output_tokens=2)
    assert facts.finish_reasons == ("stop", "length")
    assert facts.response_model == "m-1"
    assert facts.error is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"<html>",
        b'{"choices": [{"message": {"con',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        read_answer(body, "chat")
    assert caught.value.kind == "malformed"


def test_an_error_in_a_200_body_is_an_error() -> None:
    facts = read_answer(b'{"error": {"message": "no credits", "code": 402}, "choices": []}', "chat")
    assert facts.error is not None
    assert (facts.error.kind, facts.error.status, facts.error.message[:12]) == ("auth", 402, "the provider")


def test_numbers_and_surrogates_that_only_python_takes_are_no_fault() -> None:
    body = (
        b'{"model": 3, "choices": [{"message": {"content": "\\ud83d"}, "logprobs": -Infinity, "finish_reason": "stop"}]'
        b', "usage": {"prompt_tokens": 4}}'
    )
    facts = read_answer(body, "chat")
    assert (facts.finish_reasons, facts.usage, facts.response_model) == (("stop",), Usage(input_tokens=4), None)


def test_of_large_embeddings_the_tail_is_enough() -> None:
    # The middle is no JSON, so that only a reader of the tail can succeed.
    middle = b"[0.1," + b"@" * 100_000 + b"]"
    body = b'{"data": ' + middle + b', "model": "e-1", "usage": {"prompt_tokens": 9, "total_tokens": 9}}'
    facts = read_answer(body, "embeddings")
    assert (facts.usage, facts.response_model) == (Usage(input_tokens=9), "e-1")


@pytest.mark.parametrize(
    "last",
    [
        b'"z": {"usage": {"prompt_tokens": 1}}',
        b'"z": [{"usage": {"prompt_tokens": 1}}]',
        b'"z": "usage"',
        b'"z": "\\"usage\\": {\\"prompt_tokens\\": 1}"',
    ],
)
def test_a_usage_that_is_not_the_answers_own_fools_no_reader_of_the_tail(last: bytes) -> None:
    body = b'{"usage": {"prompt_tokens": 9}, "data": "' + b"x" * 100_000 + b'", ' + last + b"}"
    assert tail_usage(body, "embeddings") == Usage(input_tokens=9)


def test_missing_usage_is_estimated_from_text_alone_and_marked() -> None:
    parts = [{"type": "text", "text": "12345678"}, {"type": "image_url", "image_url": {"url": "data:" + "x" * 999}}]
    document: dict[str, object] = {"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "ééé"}]}
    request = ChatRequest(
        dialect="chat", body=b"", document=document, requested_model="m", stream=False, include_usage=False
    )
    assert estimated_usage(request, 9) == Usage(input_tokens=4, output_tokens=3, is_estimated=True)


def test_an_answers_text_counts_content_and_tool_arguments() -> None:
    message = {"role": "assistant", "content": "abc", "tool_calls": [{"id": "c", "function": {"arguments": "{}"}}]}
    assert answer_text_bytes(json.dumps({"choices": [{"message": message}]}).encode()) == 5
    assert answer_text_bytes(b'{"choices": "?"}') == 0
