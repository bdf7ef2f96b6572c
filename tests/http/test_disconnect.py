"""Clients that leave: the provider is hung up on at once, and what was produced is booked once, marked as a guess.

Runs over the gateway's own runner; aiohttp's test server would cancel handlers even where ours forgot to.
"""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from gateway.outcome import Outcome
from tests.http.folding import until_callers, until_no_calls
from tests.http.running import Gateway
from tests.provider import Reply

HELLO = [{"role": "user", "content": "hello there, this is the prompt"}]


async def read_until(answer: aiohttp.ClientResponse, wanted: bytes) -> bytes:
    """Read until `wanted` has come."""
    seen = b""
    async with asyncio.timeout(30):
        while wanted not in seen:
            seen += await answer.content.readany()
    return seen


async def stream_and_leave(gateway: Gateway, wanted: bytes, **fields: object) -> bytes:
    """Read a stream until `wanted` has come, then close the connection."""
    body = {"model": "small", "messages": HELLO, "stream": True, **fields}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
        seen = await read_until(answer, wanted)
        answer.close()
    return seen


async def only_outcome(gateway: Gateway) -> Outcome:
    """Return the one Outcome, once the provider call has ended."""
    await until_callers(gateway, 0)
    await until_no_calls(gateway)
    [outcome] = gateway.outcomes
    return outcome


async def test_leaving_in_the_middle_hangs_up_on_the_provider(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never", gate_at=3))
    await stream_and_leave(gateway, b" there")
    await gateway.provider.wait_for_hang_up()
    outcome = await only_outcome(gateway)
    assert (outcome.result, outcome.status, outcome.error_code) == ("cancelled", 499, "")
    assert [(attempt.result, attempt.group) for attempt in outcome.attempts] == [("cancelled", "small")]


async def test_what_was_produced_before_the_client_left_is_booked_and_marked_estimated(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(words=("word " * 40,) * 30, gate="never", gate_at=31))
    await stream_and_leave(gateway, b"word")
    await gateway.provider.wait_for_hang_up()
    outcome = await only_outcome(gateway)
    assert outcome.usage.is_estimated
    assert outcome.usage.input_tokens > 0
    assert outcome.usage.output_tokens > 0
    # 1 USD and 2 USD per million tokens.
    assert outcome.cost_nanousd == outcome.usage.input_tokens * 1_000 + outcome.usage.output_tokens * 2_000
    assert outcome.routed_model == "small"


async def test_leaving_before_the_first_token_hangs_up_too(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.chat("hello", stream=True))
        await gateway.provider.wait_for_requests(1)
        leaving.cancel()
    await gateway.provider.wait_for_hang_up()
    outcome = await only_outcome(gateway)
    assert (outcome.result, outcome.status) == ("cancelled", 499)
    assert outcome.attempts[0].result == "cancelled"


async def test_an_unstreamed_client_that_leaves_hangs_up_on_the_provider(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.chat("hello"))
        await gateway.provider.wait_for_requests(1)
        leaving.cancel()
    await gateway.provider.wait_for_hang_up()
    outcome = await only_outcome(gateway)
    assert (outcome.result, outcome.status, outcome.stream) == ("cancelled", 499, False)
    again = await gateway.chat("hello")
    assert (again.status, again.headers["x-foreword-cache"]) == (200, "miss")


async def test_leaving_while_the_gateway_waits_to_try_again_ends_the_attempts(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(status=429, headers={"retry-after-ms": "1500"}))
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.chat("hello"))
        await gateway.provider.wait_for_requests(1)
        await gateway.provider.requests[0].finished.wait()
        leaving.cancel()
    outcome = await only_outcome(gateway)
    assert outcome.result == "cancelled"
    assert len(gateway.provider.requests) == 1


async def test_leaving_after_the_finish_reason_is_a_success_and_usage_is_still_drained(gateway: Gateway) -> None:
    # Role, four words, finish reason; the usage event is held back until the client has gone.
    gateway.provider.script("up-small", Reply(gate="usage", gate_at=6))
    await stream_and_leave(gateway, b'"finish_reason": "stop"')
    await until_callers(gateway, 0)
    assert gateway.worker.inflight.count == 1
    gateway.provider.open_gate("usage")
    outcome = await only_outcome(gateway)
    assert (outcome.result, outcome.status) == ("ok", 200)
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.usage.is_estimated) == (11, 4, False)
    assert outcome.cost_nanousd == 19_000
    assert (await _again(gateway)) == "hit"


async def _again(gateway: Gateway) -> str:
    body = {"model": "small", "messages": HELLO}
    return (await gateway.post("/v1/chat/completions", body)).headers["x-foreword-cache"]


async def test_what_a_client_that_left_did_not_hear_is_not_stored(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never", gate_at=3))
    await stream_and_leave(gateway, b" there")
    await only_outcome(gateway)
    assert (await _again(gateway)) == "miss"


@pytest.mark.parametrize("path", ["/v1/pipelines/debate", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_a_pipeline_gives_up_every_step(gateway: Gateway, path: str, stream: bool) -> None:
    gateway.provider.always("*", Reply(gate="never"))
    text = "ANN: Trams are quiet.\nBOB: Trams are loud."
    bodies: dict[str, dict[str, object]] = {
        "/v1/pipelines/debate": {"transcript": text, "stream": stream},
        "/v1/chat/completions": {
            "model": "pipeline/debate",
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
        },
    }
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.post(path, bodies[path]))
        await gateway.provider.wait_for_requests(2)
        leaving.cancel()
    await gateway.provider.wait_for_hang_up(0)
    await gateway.provider.wait_for_hang_up(1)
    await until_no_calls(gateway)
    told = sorted((outcome.endpoint, outcome.result, outcome.status) for outcome in gateway.outcomes)
    assert told == [("pipeline", "cancelled", 499)] + [("pipeline-step", "cancelled", 499)] * 2
