"""Calls without a key: only where switched on, and only from a caller that is plainly on this machine (wire.md)."""

from __future__ import annotations

import pytest

from tests.http.conftest import StartGateway
from tests.http.raw import exchange
from tests.http.refusals import assert_refused
from tests.http.running import Answer, Gateway

BODY = b'{"model": "small", "messages": [{"role": "user", "content": "hi"}]}'


async def called(gateway: Gateway, *lines: str, host: str = "127.0.0.1:8080", kind: str = "application/json") -> Answer:
    """POST a chat request by hand, without a key."""
    fixed = [f"Content-Length: {len(BODY)}"] + ([f"Host: {host}"] if host else [])
    fixed += [f"Content-Type: {kind}"] if kind else []
    head = "\r\n".join(("POST /v1/chat/completions HTTP/1.1", *fixed, *lines, "", ""))
    return await exchange(gateway.url, head.encode() + BODY)


@pytest.fixture
async def open_gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(allow_unauthenticated_loopback=True)


async def test_it_is_off_unless_switched_on(gateway: Gateway) -> None:
    assert_refused(gateway, await called(gateway), 401, "invalid_api_key")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:8080", "[::1]"])
async def test_a_direct_local_call_needs_no_key(open_gateway: Gateway, host: str) -> None:
    assert (await called(open_gateway, host=host)).status == 200
    [outcome] = open_gateway.outcomes
    assert (outcome.tenant, outcome.key_id) == ("local", "loopback")


async def test_a_charset_is_still_json(open_gateway: Gateway) -> None:
    assert (await called(open_gateway, kind="application/json; charset=utf-8")).status == 200


async def test_models_are_listed_without_a_key(open_gateway: Gateway) -> None:
    answer = await exchange(open_gateway.url, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize(
    "line",
    [
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-host: a",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 443",
        "X-Forwarded-Server: a",
        "X-Real-IP: 127.0.0.1",
        "Via: 1.1 proxy",
        "Origin: http://localhost:8080",
        "Origin: null",
        "Origin: ",
    ],
)
async def test_what_a_proxy_or_a_web_page_adds_closes_the_door(open_gateway: Gateway, line: str) -> None:
    assert_refused(open_gateway, await called(open_gateway, line), 401, "invalid_api_key")


@pytest.mark.parametrize(
    "host",
    [
        "gateway.example:8080",
        "10.0.0.1",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "0.0.0.0",
        "[::]",
        "[fe80::1]",
        "2130706433",
        "",
    ],
)
async def test_another_host_name_closes_the_door_to_rebinding(open_gateway: Gateway, host: str) -> None:
    answer = await called(open_gateway, host=host)
    assert answer.status in ((401,) if host else (400, 401))
    assert open_gateway.provider.requests == []
    assert [outcome.result for outcome in open_gateway.outcomes] == ["error"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", ""]
)
async def test_what_a_web_form_can_send_closes_the_door(open_gateway: Gateway, kind: str) -> None:
    assert_refused(open_gateway, await called(open_gateway, kind=kind), 401, "invalid_api_key")


async def test_a_wrong_key_is_not_taken_for_none(open_gateway: Gateway) -> None:
    answer = await called(open_gateway, "Authorization: Bearer sk-wrong")
    assert_refused(open_gateway, answer, 401, "invalid_api_key")


async def test_admin_stays_closed(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(allow_unauthenticated_loopback=True, admin_key="the-admin-key-of-tests")
    answer = await exchange(gateway.url, b"GET /admin/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert_refused(gateway, answer, 401, "invalid_api_key")
