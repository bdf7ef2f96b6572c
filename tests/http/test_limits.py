"""Limits at the door (reliability.md): each is a 4xx with the one error body, one Outcome and no provider call."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.http.conftest import StartGateway
from tests.http.raw import exchange, head, wire_to
from tests.http.refusals import assert_error_body, assert_refused, told
from tests.http.running import Answer, Gateway
from tests.provider import Reply

CHAT = "/v1/chat/completions"
MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "hi"}]


def body_of_size(size: int) -> bytes:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": ""}]}).encode()
    return body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')


async def sent(gateway: Gateway, body: bytes, path: str = CHAT, **headers: str) -> Answer:
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    async with gateway.session.post(gateway.url + path, data=body, headers=named) as answer:
        return Answer(status=answer.status, headers=answer.headers, body=await answer.read())


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


@pytest.mark.parametrize("wish", ["the-moon", "\xff\xfe", "100-continue, more"])
async def test_an_unknown_expectation_gets_the_one_error_body(gateway: Gateway, wish: str) -> None:
    answer = await exchange(gateway.url, head(gateway, f"Expect: {wish}", "Content-Length: 0"))
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
        assert gateway.outcomes[0].tenant == gateway.tenant
        assert len(gateway.provider.requests) == 2
        listed = await exchange(
            gateway.url,
            f"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {other.secret}\r\n\r\n".encode(),
        )
        assert listed.status == 200
        gateway.provider.open_gate("hold")
    assert [task.result().status for task in open_ones] == [200, 200]
    assert (await gateway.chat("again")).status == 200
