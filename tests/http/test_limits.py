"""Limits at the door (reliability.md): each is a 4xx with the one error body, one Outcome and no provider call."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.http.conftest import StartGateway
from tests.http.raw import exchange, head, wire_to
from tests.http.refusals import assert_error_body, assert_refused, told
from tests.http.running import POLICY, Answer, Gateway
from tests.provider import Reply

CHAT = "/v1/chat/completions"
WITHOUT_FALLBACK = POLICY.replace(" fallbacks: [large],", "")
MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "hi"}]


def body_of_size(size: int) -> bytes:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": ""}]}).encode()
    return body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')


async def sent(gateway: Gateway, body: bytes, path: str = CHAT, **headers: str) -> Answer:
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    async with gateway.session.post(gateway.url + path, data=body, headers=named) as answer:
        return Answer(status=answer.status, headers=answer.headers, body=await answer.read())


# -- sizes -----------------------------------------------------------------------------------------------------------


async def test_a_body_at_the_limit_is_served_and_one_byte_more_is_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_body_bytes="2000")
    assert (await sent(gateway, body_of_size(2000))).status == 200
    gateway.outcomes.clear()
    gateway.provider.requests.clear()
    answer = await sent(gateway, body_of_size(2001))
    assert "2000" in str(assert_refused(gateway, answer, 413, "body_too_large")["message"])


async def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_body_bytes="2000")
    answer = await exchange(gateway.url, head(gateway, "Content-Length: 1000000000000"))
    assert_refused(gateway, answer, 413, "body_too_large")


async def test_a_chunked_body_is_measured_as_it_comes(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_body_bytes="2000")
    async with wire_to(gateway.url) as wire:
        await wire.send(head(gateway, "Transfer-Encoding: chunked"))
        for _ in range(3):
            await wire.send(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        answer = await wire.answer()  # the last chunk was never sent
    assert_refused(gateway, answer, 413, "body_too_large")


async def test_a_body_that_ends_early_or_is_badly_chunked_is_a_bad_request(gateway: Gateway) -> None:
    answer = await exchange(gateway.url, head(gateway, "Transfer-Encoding: chunked") + b"zz\r\nhello\r\n0\r\n\r\n")
    assert assert_error_body(answer)["source"] == "gateway"
    assert answer.status == 400
    assert gateway.provider.requests == []
    assert len(gateway.outcomes) == 1


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("X-Long: " + "a" * 20_000, id="one header"),
        pytest.param("\r\n".join(f"X-{n}: {'a' * 1000}" for n in range(20)), id="all headers together"),
    ],
)
async def test_headers_beyond_the_limit_are_refused(gateway: Gateway, line: str) -> None:
    answer = await exchange(gateway.url, head(gateway, line, method="GET", path="/v1/models"))
    assert_refused(gateway, answer, 400, "headers_too_large")


async def test_a_request_line_beyond_the_limit_is_refused(gateway: Gateway) -> None:
    answer = await exchange(gateway.url, head(gateway, method="GET", path="/" + "a" * 20_000))
    assert_refused(gateway, answer, 400, "headers_too_large")


async def test_too_many_headers_are_refused(gateway: Gateway) -> None:
    answer = await exchange(gateway.url, head(gateway, *(f"X-{n}: 1" for n in range(300)), method="GET"))
    assert answer.status == 400
    assert_error_body(answer)
    assert [told(outcome)[:2] for outcome in gateway.outcomes] == [("error", 400)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(b"hello\r\n\r\n", id="no HTTP"),
        pytest.param(b"GET /v1/models HTTP/9.9\r\nHost: a\r\n\r\n", id="unknown version"),
        pytest.param(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", id="header without colon"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", id="two lengths"
        ),
    ],
)
async def test_what_is_no_http_gets_the_one_error_body_and_the_connection_closed(gateway: Gateway, data: bytes) -> None:
    async with wire_to(gateway.url) as wire:
        await wire.send(data)
        answer = await wire.answer()
        assert await wire.rest() == b""
    assert_refused(gateway, answer, 400, "invalid_request")
    assert (await gateway.chat()).status == 200


async def test_an_unknown_expectation_gets_the_one_error_body(gateway: Gateway) -> None:
    answer = await exchange(gateway.url, head(gateway, "Expect: the-moon", "Content-Length: 0"))
    assert_refused(gateway, answer, 417, "invalid_request")


async def test_curl_is_told_to_continue_with_a_large_body(gateway: Gateway) -> None:
    body = body_of_size(5000)
    async with wire_to(gateway.url) as wire:
        await wire.send(head(gateway, "Expect: 100-continue", f"Content-Length: {len(body)}"))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(body)
        assert (await wire.answer()).status == 200


async def test_nesting_beyond_the_limit_is_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_nesting_depth="5")
    deep: object = 1
    for _ in range(4):
        deep = [deep]
    assert (await gateway.chat(extra=deep)).status == 200
    gateway.outcomes.clear()
    gateway.provider.requests.clear()
    answer = await gateway.chat(extra=[deep])
    assert_refused(gateway, answer, 400, "invalid_request")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_nesting_that_would_exhaust_a_stack_is_a_bad_request(gateway: Gateway, opening: bytes) -> None:
    answer = await sent(gateway, b'{"model":"small","messages":' + opening * 200_000)
    assert_refused(gateway, answer, 400, "invalid_request")


async def test_more_messages_than_the_limit_are_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_messages="3")
    answer = await gateway.post(CHAT, {"model": "small", "messages": MESSAGES * 4})
    assert_refused(gateway, answer, 400, "invalid_request", param="messages")


async def test_more_embedding_inputs_than_the_limit_are_refused(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_messages="3")
    answer = await gateway.post("/v1/embeddings", {"model": "embed", "input": ["a"] * 4})
    assert_refused(gateway, answer, 400, "invalid_request", param="input")


# -- slowness and numbers --------------------------------------------------------------------------------------------


async def test_a_body_that_does_not_come_is_a_408(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(body_read_timeout_s="0.05")
    answer = await exchange(gateway.url, head(gateway, "Content-Length: 100") + b'{"model"')
    assert_refused(gateway, answer, 408, "request_timeout")


async def test_a_key_may_have_so_many_requests_open_and_others_are_not_concerned(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_connections_per_key="2")
    gateway.provider.always("up-small", Reply(gate="hold"))
    other = await gateway.worker.services.keys.create(gateway.tenant, name="other")
    async with asyncio.TaskGroup() as tasks:
        open_ones = [tasks.create_task(gateway.chat(f"open {number}")) for number in range(2)]
        await gateway.provider.wait_for_requests(2)
        refused = await gateway.chat("one too many")
        error = assert_error_body(refused)
        assert (refused.status, error["code"], error["source"]) == (429, "overloaded", "gateway")
        assert int(refused.headers["Retry-After"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1
        assert [told(outcome) for outcome in gateway.outcomes] == [("error", 429, "overloaded", "gateway")]
        assert len(gateway.provider.requests) == 2
        listed = await exchange(
            gateway.url,
            f"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {other.secret}\r\n\r\n".encode(),
        )
        assert listed.status == 200
        gateway.provider.open_gate("hold")
    assert [task.result().status for task in open_ones] == [200, 200]
    assert (await gateway.chat("again")).status == 200


# -- bodies ----------------------------------------------------------------------------------------------------------


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


# -- headers ---------------------------------------------------------------------------------------------------------


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


# -- where to --------------------------------------------------------------------------------------------------------


async def test_an_unknown_model_is_a_404_that_names_it(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=WITHOUT_FALLBACK)
    answer = await gateway.chat(model="nobody-9")
    error = assert_refused(gateway, answer, 404, "model_not_found", param="model")
    assert "nobody-9" in str(error["message"])


async def test_an_unknown_pipeline_is_a_404(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/pipelines/nothing", {})
    assert answer.status == 404
    assert assert_error_body(answer)["source"] == "gateway"
    assert len(gateway.outcomes) == 1


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/chat/completions/", "/v1//models", "/..%2f..%2fetc"])
async def test_an_unknown_path_is_a_404_with_the_one_body(gateway: Gateway, path: str) -> None:
    answer = await exchange(gateway.url, head(gateway, "Content-Length: 0", path=path))
    assert_refused(gateway, answer, 404, "not_found")


async def test_a_path_of_arbitrary_bytes_is_a_404(gateway: Gateway) -> None:
    data = b"POST /v1/\xff\xfe%ff%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    answer = await exchange(gateway.url, data)
    assert answer.status in (400, 404)
    assert_error_body(answer)
    assert len(gateway.outcomes) == 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CHAT, "POST"), ("DELETE", "/v1/models", "GET,HEAD"), ("POST", "/healthz", "GET,HEAD")],
)
async def test_a_wrong_method_is_a_405_that_says_which_are_right(
    gateway: Gateway, method: str, path: str, allowed: str
) -> None:
    answer = await exchange(gateway.url, head(gateway, method=method, path=path))
    assert_refused(gateway, answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(",")) <= set(allowed.split(","))


# -- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("X-Nothing: 1", id="none"),
        pytest.param("Authorization: Bearer sk-fw-" + "A" * 43, id="unknown"),
        pytest.param("Authorization: Bearer sk-something-else", id="foreign"),
        pytest.param("Authorization: Bearer", id="empty"),
        pytest.param("Authorization: ", id="blank"),
        pytest.param("Authorization: Basic dXNlcjpwYXNz", id="basic"),
        pytest.param("Authorization: sk-fw-" + "A" * 43, id="no scheme"),
        pytest.param("Authorization: Bearer \xff\xfe\xfd", id="not UTF-8"),
        pytest.param("Authorization: Bearer " + "k" * 10_000, id="long"),
    ],
)
async def test_without_a_valid_key_it_is_a_401_with_the_one_body(gateway: Gateway, line: str) -> None:
    body = body_of_size(100)
    data = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\n{line}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
    answer = await exchange(gateway.url, data)
    assert_refused(gateway, answer, 401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (line.partition(":")[2].split()[-1:] or ["?"])[0].encode("latin-1") not in answer.body.replace(b"Bearer", b"")


async def test_who_calls_is_asked_before_the_body_is_read(gateway: Gateway) -> None:
    data = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n".encode()
    assert_refused(gateway, await exchange(gateway.url, data), 401, "invalid_api_key")


async def test_a_revoked_key_stops_at_this_worker_at_once_and_at_others_within_a_second(
    start_gateway: StartGateway, gateway: Gateway
) -> None:
    other = await start_gateway()
    made = await gateway.worker.services.keys.create(gateway.tenant, name="short-lived")
    named = {"Authorization": f"Bearer {made.secret}"}
    body = {"model": "small", "messages": MESSAGES}
    for one in (gateway, other):
        assert (await one.post(CHAT, body, **named)).status == 200
    loop = asyncio.get_running_loop()
    verified_at = loop.time()
    await gateway.worker.services.keys.revoke(made.record.id)
    assert (await gateway.post(CHAT, body, **named)).status == 401
    # The other worker verified the key before `verified_at`: it may believe it for a second and no longer.
    while (answer := await other.post(CHAT, body, **named)).status == 200:
        assert loop.time() < verified_at + 1.0
    assert answer.status == 401
    assert_error_body(answer)


async def test_a_key_with_an_allow_list_reaches_its_models_only(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=WITHOUT_FALLBACK)
    made = await gateway.worker.services.keys.create(gateway.tenant, name="narrow", models=["large"])
    named = {"Authorization": f"Bearer {made.secret}"}
    body = {"model": "small", "messages": MESSAGES}
    answer = await gateway.post(CHAT, body, **named)
    assert_refused(gateway, answer, 403, "model_not_allowed", param="model")
    assert (await gateway.post(CHAT, {**body, "model": "large"}, **named)).status == 200
    async with gateway.session.get(gateway.url + "/v1/models", headers=named) as listed:
        assert [entry["id"] for entry in (await listed.json())["data"]] == ["large"]


async def test_admin_does_not_exist_without_an_admin_key(gateway: Gateway) -> None:
    answer = await exchange(gateway.url, head(gateway, method="GET", path="/admin/status"))
    assert_refused(gateway, answer, 404, "not_found")


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer \xff\xfe", "Basic c2VjcmV0", "the-admin-key-of-tests"])
async def test_admin_with_a_wrong_key_is_a_401(start_gateway: StartGateway, given: str) -> None:
    gateway = await start_gateway(admin_key="the-admin-key-of-tests")
    line = f"GET /admin/status HTTP/1.1\r\nHost: a\r\nAuthorization: {given}\r\n\r\n".encode("latin-1")
    assert_refused(gateway, await exchange(gateway.url, line), 401, "invalid_api_key")


async def test_the_admin_key_opens_admin_and_a_gateway_key_does_not(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(admin_key="the-admin-key-of-tests")
    good = {"Authorization": "Bearer the-admin-key-of-tests"}
    async with gateway.session.get(gateway.url + "/admin/status", headers=good) as answer:
        assert answer.status == 200
    async with gateway.session.get(gateway.url + "/admin/status") as answer:
        assert answer.status == 401
