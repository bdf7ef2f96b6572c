"""Silence on a stream is filled with comments, which are no part of the answer; before the first one, failures have a
status of their own."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.http.conftest import StartGateway
from tests.http.folding import until_callers, until_no_calls
from tests.http.running import Answer, Gateway
from tests.provider import Reply

SILENT = Reply(gate="answer")
COMMENT = b": waiting for the model\n\n"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway whose streams are not quiet for longer than 30 ms."""
    return await start_gateway(heartbeat_s="0.03")


async def hear(gateway: Gateway, text: str, *, then: str = "answer") -> Answer:
    """Stream; open the gate `then` after the second heartbeat."""
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": text}]}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
        seen = await until_seen(answer, COMMENT * 2)
        gateway.provider.open_gate(then)
        seen += await answer.content.read()
        return Answer(status=answer.status, headers=answer.headers, body=seen)


async def until_seen(answer: aiohttp.ClientResponse, wanted: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(30):
        while wanted not in seen:
            seen += await answer.content.readany()
    return seen


async def test_a_caller_who_waits_for_the_first_token_hears_comments_and_then_the_same_answer(gateway: Gateway) -> None:
    gateway.provider.script("up-small", SILENT)
    waited = await hear(gateway, "patience")
    plain = await gateway.chat("patience", stream=True, headers={"Cache-Control": "no-cache"})
    assert waited.status == 200
    assert waited.body.startswith(COMMENT * 2)
    assert waited.body.replace(COMMENT, b"") == plain.body
    assert COMMENT not in plain.body
    await until_no_calls(gateway)
    first, _ = gateway.outcomes
    assert (first.result, first.routed_model) == ("ok", "small")


async def test_a_head_that_goes_out_before_anybody_has_answered_names_no_model(gateway: Gateway) -> None:
    gateway.provider.script("up-small", SILENT)
    waited = await hear(gateway, "who")
    told = {name.lower() for name in waited.headers}
    assert {"x-request-id", "x-foreword-cache", "x-foreword-route", "x-foreword-attempts"} <= told
    assert not {"x-foreword-model", "x-foreword-provider", "x-foreword-overhead-ms", "x-foreword-cost-usd"} & told


async def test_who_joins_hears_comments_too(gateway: Gateway) -> None:
    gateway.provider.script("up-small", SILENT)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(hear(gateway, "both", then="nobody"))
        await until_callers(gateway, 1)
        second = group.create_task(hear(gateway, "both"))
    bodies = [task.result().body for task in (first, second)]
    assert all(body.startswith(COMMENT * 2) for body in bodies)
    assert bodies[0].replace(COMMENT, b"") == bodies[1].replace(COMMENT, b"")
    assert len(gateway.provider.requests) == 1


async def test_silence_in_the_middle_is_filled_too(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="answer", gate_at=3))
    told = (await hear(gateway, "middle")).body
    assert 0 < told.index(b" there") < told.index(COMMENT) < told.index(b", bot")


async def test_what_fails_after_a_heartbeat_is_an_error_event_without_done(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="answer", status=400))
    answer = await hear(gateway, "fails late")
    [event] = answer.events()
    assert (answer.status, '"error"' in event) == (200, True)
    assert [outcome.result for outcome in gateway.outcomes] == ["error"]


async def test_what_fails_before_has_a_status_and_an_unstreamed_answer_no_comment(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(status=400))
    assert (await gateway.chat("fails", stream=True)).status == 400
    gateway.provider.script("up-small", Reply(delay_s=0.1))
    assert (await gateway.chat("whole")).json()["choices"]


async def test_a_caller_who_leaves_between_heartbeats_hangs_up_on_the_provider(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never"))
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "bye"}]}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
        await until_seen(answer, COMMENT)
        await gateway.provider.wait_for_requests(1)  # on a slow machine the first heartbeat is sent before the call is
        answer.close()
    await gateway.provider.wait_for_hang_up()
    await until_no_calls(gateway)
    assert [outcome.result for outcome in gateway.outcomes] == ["cancelled"]
