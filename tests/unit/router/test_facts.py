"""The door's reader: what is refused, with which field named, and what policies get to know."""

from __future__ import annotations

import json

import pytest

from router.facts import BadRequest, DoorLimits, facts_of, read_request
from router.types import ChatRequest

LIMITS = DoorLimits(max_nesting_depth=16, max_messages=5)
USER = {"role": "user", "content": "hi"}


def read(**fields: object) -> ChatRequest:
    body = json.dumps({"model": "m", "messages": [USER], **fields}).encode()
    return read_request(body, dialect="chat", limits=LIMITS)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 3}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0]"),
        ({"messages": [USER, {"role": 1}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
        ({"messages": [USER] * 6}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": {}}, "tools"),
        ({"anything": 10**40}, "anything"),
        ({"seed": 2**80}, "seed"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(fields: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.param == param
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":[{"role":"user","content":NaN}]}',
        b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_is_a_400(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_request(body, dialect="chat", limits=LIMITS)


@pytest.mark.parametrize(("levels", "is_refused"), [(13, False), (30, True)])
def test_nesting_is_bounded_however_wide_the_body_is(levels: int, is_refused: bool) -> None:
    deep: object = 1
    for _ in range(levels):
        deep = [deep]
    wide: list[dict[str, list[int]]] = [{"a": []} for _ in range(100)]
    if is_refused:
        with pytest.raises(BadRequest, match="nested deeper"):
            read(extra=deep, wide=wide)
    else:
        assert read(extra=deep, wide=wide).document["extra"] == deep


@pytest.mark.parametrize("given", ["text", ["a", "b"], [1, 2], [[1, 2], [3]]])
def test_embeddings_take_text_and_tokens(given: object) -> None:
    body = json.dumps({"model": "e", "input": given}).encode()
    assert read_request(body, dialect="embeddings", limits=LIMITS).requested_model == "e"


@pytest.mark.parametrize("given", [[], "", {}, [1, "a"], [[1], "a"], [["a"]], None, 3])
def test_embeddings_refuse_mixed_and_empty_input(given: object) -> None:
    body = json.dumps({"model": "e", "input": given}).encode()
    with pytest.raises(BadRequest) as caught:
        read_request(body, dialect="embeddings", limits=LIMITS)
    assert caught.value.param == "input"


def test_facts_tell_sizes_and_needs_and_no_text() -> None:
    request = read(
        messages=[
            {"role": "system", "content": "x" * 40},
            {"role": "user", "content": [{"type": "text", "text": "ä" * 20}, {"type": "image_url", "image_url": {}}]},
        ],
        tools=[{}],
        response_format={"type": "json_schema"},
        max_completion_tokens=9,
        user="ann",
    )
    facts = facts_of(request, tenant="t", session="", tags=frozenset({"a=b"}), allowed_models=None)
    assert facts.needs == {"tools", "vision", "json_schema"}
    # 40 + 40 bytes of text, 4 of tools, 22 of response_format, over 4, and one image.
    assert facts.input_tokens == 27 + 765
    assert facts.max_output_tokens == 9
    assert facts.session == "ann"
    assert "xxx" not in repr(facts)
