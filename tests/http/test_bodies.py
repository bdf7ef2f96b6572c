"""Bodies and headers at the door (reliability.md): what cannot be right is a 400 that names the field."""

from __future__ import annotations

import pytest

from tests.http.refusals import assert_error_body, assert_refused
from tests.http.running import Answer, Gateway

CHAT = "/v1/chat/completions"
MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "hi"}]


async def sent(gateway: Gateway, body: bytes, path: str = CHAT, **headers: str) -> Answer:
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    async with gateway.session.post(gateway.url + path, data=body, headers=named) as answer:
        return Answer(status=answer.status, headers=answer.headers, body=await answer.read())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="unfinished"),
        pytest.param(b'{"model": "small", "messages": [],}', id="trailing comma"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"small"', id="string"),
        pytest.param(b'{"model": "small", "temperature": NaN, "messages": []}', id="NaN"),
        pytest.param(b'{"model": "sm\xffall", "messages": []}', id="invalid UTF-8"),
        pytest.param(b'{"model": "\\ud800", "messages": []}', id="lone surrogate"),
        pytest.param(b"\xff\xfe{\x00}\x00", id="UTF-16"),
        pytest.param(b"model=small&messages=hi", id="form"),
        pytest.param(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", id="compressed without saying so"),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(gateway: Gateway, body: bytes) -> None:
    assert_refused(gateway, await sent(gateway, body), 400, "invalid_request")


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"model": 7}, "model"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": "x" * 300}, "model"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 1e300}, "temperature"),
        ({"seed": 10**40}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"whatever": 10**300}, "whatever"),
        ({"tools": {}}, "tools"),
        ({"logit_bias": {"50256": "much"}}, "logit_bias[...]"),
        ({"cache": 7}, "cache"),
        ({"cache": {"ttl": "long"}}, "cache.ttl"),
        ({"cache": {"ttl": 10**300}}, "cache.ttl"),
        ({"cache": {"namespace": "a b"}}, "cache.namespace"),
    ],
)
async def test_a_wrong_type_or_a_huge_number_names_the_field(
    gateway: Gateway, changed: dict[str, object], param: str
) -> None:
    answer = await gateway.post(CHAT, {"model": "small", "messages": MESSAGES, **changed})
    error = assert_refused(gateway, answer, 400, "invalid_request", param=param)
    assert str(error["message"]).startswith(param)


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_a_missing_field_is_named_in_the_message(gateway: Gateway, missing: str) -> None:
    whole = {"model": "small", "messages": MESSAGES}
    answer = await gateway.post(CHAT, {name: value for name, value in whole.items() if name != missing})
    assert missing in str(assert_refused(gateway, answer, 400, "invalid_request")["message"])


async def test_a_number_with_thousands_of_digits_is_refused(gateway: Gateway) -> None:
    body = b'{"model":"small","messages":[{"role":"user","content":"hi"}],"seed":' + b"9" * 100_000 + b"}"
    answer = await sent(gateway, body)
    assert answer.status == 400
    assert_error_body(answer)
    assert gateway.provider.requests == []


@pytest.mark.parametrize(
    "changed",
    [
        {"input": 7},
        {"input": [1, "a"]},
        {"input": []},
        {"input": [{}]},
        {"input": [[1, "a"]]},
    ],
)
async def test_embedding_inputs_are_checked_too(gateway: Gateway, changed: dict[str, object]) -> None:
    answer = await gateway.post("/v1/embeddings", {"model": "embed", "input": "a", **changed})
    assert_refused(gateway, answer, 400, "invalid_request", param="input")


async def test_fields_of_another_dialect_are_none_of_our_business(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/embeddings", {"model": "embed", "input": "a", "messages": ["x", 1, None]})
    assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
async def test_an_encoded_body_is_refused_by_name(gateway: Gateway, encoding: str) -> None:
    answer = await sent(gateway, b"\x1f\x8b", Content_Encoding=encoding)
    assert "Content-Encoding" in str(assert_refused(gateway, answer, 400, "unsupported_encoding")["message"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-foreword-deadline-ms", "soon"),
        ("x-foreword-deadline-ms", "0"),
        ("x-foreword-deadline-ms", "-5"),
        ("x-foreword-deadline-ms", "000000000001" + "9" * 400),
        ("x-foreword-deadline-ms", "9" * 5000),
        ("x-foreword-tags", "task"),
        ("x-foreword-tags", "a=b,c"),
        ("x-foreword-tags", ",".join(f"a{n}=b" for n in range(40))),
        ("x-foreword-session", "two words"),
        ("x-foreword-session", "s" * 200),
    ],
)
async def test_a_malformed_header_of_ours_is_a_400_that_names_it(gateway: Gateway, name: str, value: str) -> None:
    answer = await gateway.chat(headers={name: value})
    assert str(assert_refused(gateway, answer, 400, "invalid_request")["message"]).startswith(name)


async def test_a_request_id_that_is_not_fit_for_a_log_is_replaced(gateway: Gateway) -> None:
    kept = await gateway.chat(headers={"x-request-id": "bot-7.a_B"})
    replaced = await gateway.chat(headers={"x-request-id": "x" * 65})
    assert kept.headers["x-request-id"] == "bot-7.a_B"
    assert replaced.headers["x-request-id"].startswith("req-")
