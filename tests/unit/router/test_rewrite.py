"""The provider gets the client's bytes with the few changes that are needed, and no other."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import Dialect
from router.rewrite import provider_body
from router.types import Call, ChatRequest, Deployment


def call_of(
    body: bytes,
    *,
    model: str = "gpt-4o",
    stream: bool = False,
    asked_stream: bool = False,
    cap: int | None = None,
    dialect: Dialect = "chat",
) -> Call:
    request = ChatRequest(
        dialect=dialect,
        body=body,
        document=msgspec.json.decode(body, type=dict[str, object]),
        requested_model="x",
        stream=asked_stream,
        include_usage=False,
    )
    deployment = Deployment(
        id="d",
        group="g",
        provider="openai",
        model=model,
        backend="openai_wire",
        api_base="http://127.0.0.1",
        secret="sk-secret",
        price=None,
    )
    return Call(request=request, deployment=deployment, stream=stream, max_output_tokens=cap, traceparent=None)


def test_only_the_model_changes_in_a_plain_call() -> None:
    body = b'{ "messages" : [ {"role":"user", "content":"\\u00e9 \xc3\xa9 1.0e5"} ] , "model":"mine", "x": 1.50 }'
    assert provider_body(call_of(body)) == (
        b'{"messages":[ {"role":"user", "content":"\\u00e9 \xc3\xa9 1.0e5"} ],"model":"gpt-4o","x":1.50}'
    )


def test_what_is_for_the_gateways_cache_goes_no_further() -> None:
    body = b'{"model":"mine","cache":{"ttl":60},"messages":[{"cache":{"x":1}}]}'
    assert provider_body(call_of(body)) == b'{"model":"gpt-4o","messages":[{"cache":{"x":1}}]}'


def test_nested_model_keys_and_text_about_models_stay() -> None:
    body = b'{"metadata":{"model":"a"},"model":"b","messages":[{"content":"\\"model\\":\\"c\\""}]}'
    assert provider_body(call_of(body)) == body.replace(b'"model":"b"', b'"model":"gpt-4o"')


@pytest.mark.parametrize("key", [b'"model"', b'"\\u006dodel"', b'"mod\\u0065l"'])
def test_an_escaped_key_is_the_same_key(key: bytes) -> None:
    assert provider_body(call_of(b'{"model":"cheap",' + key + b':"dear"}')) == b'{"model":"gpt-4o"}'


def test_of_repeated_keys_the_last_value_goes_out() -> None:
    assert provider_body(call_of(b'{"model":"m","n":1,"n":7}')) == b'{"model":"gpt-4o","n":7}'


def test_a_streamed_call_asks_for_usage_and_keeps_the_other_options() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"include_obfuscation": false,"include_usage":false}}'
    assert json.loads(provider_body(call_of(body, stream=True, asked_stream=True)))["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }


@pytest.mark.parametrize("options", [b"", b',"stream_options":null', b',"stream_options": {} '])
def test_missing_stream_options_are_added(options: bytes) -> None:
    body = b'{"model":"m","stream":true' + options + b"}"
    sent = provider_body(call_of(body, stream=True, asked_stream=True))
    assert sent == b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}'


def test_stream_options_of_a_wrong_type_are_left_for_the_provider_to_refuse() -> None:
    body = b'{"model":"m","stream":true,"stream_options":"yes"}'
    assert b'"stream_options":"yes"' in provider_body(call_of(body, stream=True, asked_stream=True))


def test_streaming_follows_the_call_and_not_the_client() -> None:
    asked = b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'
    assert provider_body(call_of(asked, asked_stream=True)) == b'{"model":"gpt-4o","stream":false}'
    assembled = json.loads(provider_body(call_of(b'{"model":"m","stream":false}', stream=True)))
    assert assembled == {"model": "gpt-4o", "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("model", "limits", "expected"),
    [
        ("gpt-4o", {}, {"max_tokens": 100}),
        ("o3-mini", {}, {"max_completion_tokens": 100}),
        ("openai/o1", {}, {"max_completion_tokens": 100}),
        ("gpt-5-nano", {}, {"max_completion_tokens": 100}),
        ("gpt-4o", {"max_completion_tokens": 500}, {"max_completion_tokens": 100}),
        ("o3", {"max_tokens": 500}, {"max_tokens": 100}),
        ("gpt-4o", {"max_tokens": 7}, {"max_tokens": 7}),
        ("gpt-4o", {"max_tokens": None}, {"max_tokens": 100}),
        ("gpt-4o", {"max_tokens": -1}, {"max_tokens": 100}),
        ("gpt-4o", {"max_tokens": "9999"}, {"max_tokens": 100}),
        ("gpt-4o", {"max_tokens": 7, "max_completion_tokens": 900}, {"max_tokens": 7, "max_completion_tokens": 100}),
    ],
)
def test_the_cap_lowers_the_limit_in_use_or_adds_the_one_that_the_model_knows(
    model: str, limits: dict[str, object], expected: dict[str, object]
) -> None:
    body = json.dumps({"model": "m", **limits}).encode()
    assert json.loads(provider_body(call_of(body, model=model, cap=100))) == {"model": model, **expected}


def test_embeddings_get_neither_stream_options_nor_a_cap() -> None:
    body = b'{"model":"m","input":["a"],"encoding_format":"base64"}'
    sent = provider_body(call_of(body, dialect="embeddings", cap=100))
    assert sent == b'{"model":"gpt-4o","input":["a"],"encoding_format":"base64"}'


texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("model"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=6), st.booleans(), st.sampled_from([None, 2]), st.booleans())
def test_whatever_the_document_only_the_named_fields_change(
    others: dict[str, object], ascii_only: bool, indent: int | None, stream: bool
) -> None:
    document = {**others, "model": "mine", "stream": stream}
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    sent = provider_body(call_of(body, stream=stream, asked_stream=stream))
    expected = {**document, "model": "gpt-4o"}
    if stream and isinstance(document.get("stream_options"), dict | None):
        expected["stream_options"] = {"include_usage": True}
    assert json.loads(sent) == expected
    before = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    after = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    assert list(after)[: len(before)] == list(before)
    for name, raw in before.items():
        if name not in ("model", "stream_options"):
            assert bytes(after[name]) == bytes(raw)
