"""Where to and who: unknown models, paths and methods, and keys that are missing, wrong, revoked or too narrow."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.http.conftest import StartGateway
from tests.http.raw import exchange, head
from tests.http.refusals import assert_error_body, assert_refused
from tests.http.running import Gateway

CHAT = "/v1/chat/completions"
MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "hi"}]


async def test_an_unknown_model_is_a_404_that_names_it(gateway: Gateway) -> None:
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
    body = json.dumps({"model": "small", "messages": MESSAGES}).encode()
    data = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\n{line}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
    answer = await exchange(gateway.url, data)
    assert_refused(gateway, answer, 401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (line.partition(":")[2].split()[-1:] or ["?"])[0].encode("latin-1") not in answer.body.replace(
        b"Bearer", b""
    )


async def test_who_calls_is_asked_before_the_body_is_read(gateway: Gateway) -> None:
    data = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n".encode()
    assert_refused(gateway, await exchange(gateway.url, data), 401, "invalid_api_key")


async def test_an_outcome_says_whose_request_was_refused_where_the_key_was_right(gateway: Gateway) -> None:
    await gateway.post("/v1/chat/completions", {"model": "small"})
    async with gateway.session.post(gateway.url + "/v1/chat/completions", headers={"Authorization": "Bearer x"}):
        pass
    assert [(one.status, one.tenant) for one in gateway.outcomes] == [(400, gateway.tenant), (401, "")]


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
    asked_at = loop.time()
    while (answer := await other.post(CHAT, body, **named)).status == 200:
        assert asked_at < verified_at + 1.0
        asked_at = loop.time()
    assert answer.status == 401
    assert_error_body(answer)


async def test_a_key_with_an_allow_list_reaches_its_models_only(gateway: Gateway) -> None:
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
