"""Events pass as they came, however they were cut, and what they say is noticed."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ProviderError
from router.sse import StreamReader


def event(delta: object = None, *, finish: str | None = None, index: int = 0, **more: object) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "m-1", "choices": [choice], **more}).encode() + b"\n\n"


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}\n\n'
DONE = b"data: [DONE]\n\n"
ROLE = event({"role": "assistant", "content": ""})
WORDS = [event({"content": word}, usage=None) for word in ('a "usage" of "error"', "[DONE]", "data: x\n\ny", "é")]
STOP = event(finish="stop")
TEXT = b"".join([ROLE, *WORDS, STOP])


def read(wire: bytes, *cuts: int) -> tuple[StreamReader, bytes]:
    reader = StreamReader()
    edges = [0, *sorted(cuts), len(wire)]
    blocks = [reader.feed(wire[start:end]) for start, end in itertools.pairwise(edges)]
    assert all(block == b"" or block.endswith(b"\n\n") for block in blocks)
    return reader, b"".join(blocks) + reader.end()


@given(st.lists(st.integers(0, len(TEXT + USAGE + DONE)), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_cuts_and_line_ends_change_nothing(cuts: list[int], line_end: bytes) -> None:
    reader, passed = read((TEXT + USAGE + DONE).replace(b"\n", line_end), *cuts)
    assert passed == TEXT
    assert reader.is_done
    assert reader.finish_reasons == ("stop",)
    assert reader.usage_event == USAGE
    assert reader.usage is not None
    assert (reader.usage.input_tokens, reader.usage.output_tokens) == (3, 2)
    assert reader.response_model == "m-1"
    assert reader.malformed_events == 0
    assert reader.error is None


def test_the_same_bytes_object_goes_on_where_nothing_is_to_do() -> None:
    reader = StreamReader()
    chunk = WORDS[0]
    assert reader.feed(chunk) is chunk
    assert reader.feed(b"".join(WORDS)) == b"".join(WORDS)


def test_the_role_is_no_token_and_the_first_word_is() -> None:
    reader = StreamReader()
    reader.feed(ROLE)
    assert not reader.has_token
    reader.feed(WORDS[0])
    assert reader.has_token


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"reasoning_content": "hm"},
        {"refusal": "no"},
        {"function_call": {"name": "f"}},
    ],
)
def test_tool_calls_reasoning_and_refusals_are_tokens(delta: object) -> None:
    reader, _ = read(event(delta))
    assert reader.has_token


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"choices": [{"index": 0, "delta": {"con\n\n',
        b"data: {not json}\n\n",
        b'data: {"a": tru}\n\n',
        b"data: 17\n\n",
        b"data: {}}\n\n",
        b'data: {"a": "\xff"}}\n\n',
        b"data: " + b'{"a":' * 50_000 + b"\n\n",
    ],
)
def test_a_malformed_event_is_left_out_and_counted(broken: bytes) -> None:
    reader, passed = read(ROLE + broken + STOP + DONE)
    assert passed == ROLE + STOP
    assert reader.malformed_events == 1
    assert reader.is_done


def test_comments_other_fields_and_empty_events_are_left_out() -> None:
    wire = b": PROCESSING\n\n\n\n" + b"id: 7\nevent: message\nretry: 10\n" + STOP + b":\n\n"
    assert read(wire)[1] == STOP


def test_data_over_several_lines_and_without_a_space_is_put_in_the_usual_frame() -> None:
    _, passed = read(b'data:{"choices":\ndata: [{"index":0,"delta":{"content":"x"}}]}\n\n')
    assert passed == b'data: {"choices":  [{"index":0,"delta":{"content":"x"}}]}\n\n'


@pytest.mark.parametrize(
    ("said", "kind", "status"),
    [
        (b'{"error": {"message": "boom", "type": "server_error"}}', "server_error", None),
        (b'{"error": {"message": "busy", "code": 429}, "choices": []}', "rate_limited", 429),
        (b'{"error": "plain words"}', "server_error", None),
        (b'{"error": {"message": "no", "code": "context_length_exceeded"}}', "context_length", None),
    ],
)
def test_an_error_event_is_an_error_and_ends_the_stream(said: bytes, kind: str, status: int | None) -> None:
    reader, passed = read(ROLE + b"data: " + said + b"\n\n" + WORDS[0])
    assert passed == ROLE
    assert reader.error is not None
    assert (reader.error.kind, reader.error.status, reader.error.source) == (kind, status, "provider")


def test_error_null_is_no_error() -> None:
    reader, passed = read(event({"content": "x"}, error=None))
    assert reader.error is None
    assert passed


def test_the_answers_text_is_measured_in_bytes() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"arguments": '{"a":1}'}}
    assert read(event({"content": "né"}) + event({"tool_calls": [call]}))[0].output_bytes == 3 + 7


def test_nothing_passes_after_done() -> None:
    assert read(STOP + DONE + WORDS[0])[1] == STOP


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n"])
def test_done_is_understood_without_its_blank_line(tail: bytes) -> None:
    reader, passed = read(TEXT + tail)
    assert passed == TEXT
    assert reader.is_done


def test_a_whole_last_event_without_its_blank_line_passes_and_half_of_one_does_not() -> None:
    assert read(ROLE + STOP[:-2])[1] == ROLE + STOP
    reader, passed = read(ROLE + STOP[:-9])
    assert passed == ROLE
    assert reader.malformed_events == 0
    assert not reader.is_finished(1)


def test_every_choice_needs_its_finish_reason() -> None:
    reader = StreamReader()
    reader.feed(event({"content": "a"}) + event({"content": "b"}, index=1) + event(finish="stop"))
    assert not reader.is_finished(2)
    reader.feed(event(finish="length", index=1))
    assert reader.is_finished(2)
    assert not reader.is_finished(3)
    assert reader.finish_reasons == ("stop", "length")


def test_usage_beside_choices_stays_in_its_event() -> None:
    last = event(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 9})
    reader, passed = read(last)
    assert passed == last
    assert reader.usage_event is None
    assert reader.usage is not None
    assert reader.usage.output_tokens == 9


@pytest.mark.parametrize("text", [rb"\ud83d", rb"caf\u00e9 \ud83d\ude00"])
def test_a_lone_surrogate_passes_as_it_came(text: bytes) -> None:
    wire = b'data: {"choices":[{"index":0,"delta":{"content":"' + text + b'"}}]}\n\n'
    reader, passed = read(wire)
    assert passed == wire
    assert reader.has_token


def test_odd_types_do_not_make_an_event_malformed() -> None:
    wire = b'data: {"model":7,"usage":"none","choices":[{"index":null,"delta":"x","finish_reason":1}]}\n\n'
    reader, passed = read(wire)
    assert passed == wire
    assert reader.finish_reasons == ("",)


def test_an_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    reader = StreamReader(max_event_bytes=1_000)
    for _ in range(10):
        reader.feed(b"data: " + b"x" * 94)
    with pytest.raises(ProviderError, match="more than 1000 bytes") as caught:
        reader.feed(b"x")
    assert caught.value.kind == "malformed"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_are_read_without_an_exception(noise: bytes, cuts: list[int]) -> None:
    read(ROLE + noise, *cuts)
