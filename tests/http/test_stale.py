"""Answers beyond their time: told where no provider answers and the route says so; and those renewed before it."""

from __future__ import annotations

import asyncio

import pytest

from tests.http.conftest import StartGateway
from tests.http.folding import folded
from tests.http.running import Gateway
from tests.provider import Reply

POLICY = """
version: 1
policy: default
routes:
  - {name: never, match: {tag: "kind=never"}, candidates: [requested], cache: {exact_ttl: 1ms}}
  - {name: soft, match: {tag: "kind=soft"}, candidates: [requested], cache: {exact_ttl: 1h, refresh_after: 1ms}}
  - {name: chat, match: {any: true}, candidates: [requested], on_cut: error,
     cache: {exact_ttl: 1ms, stale_if_error: 1h}}
"""
AWAY = Reply(status=503)


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(policy=POLICY, retry_patience_s="0.05")


async def pass_its_time() -> None:
    """Let the millisecond pass for which the answer is good."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 0.002
    while loop.time() < until_s:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_where_no_provider_answers_an_old_answer_stands_in_and_says_so(gateway: Gateway, stream: bool) -> None:
    first = await gateway.chat("old", stream=stream)
    await pass_its_time()
    gateway.provider.always("up-small", AWAY)
    again = await gateway.chat("old", stream=stream)
    assert (again.status, again.headers["x-foreword-cache"]) == (200, "stale")
    assert folded(again).text == folded(first).text
    assert again.headers["Age"] == "0"
    assert again.headers["Cache-Status"].startswith("foreword; hit; ttl=")
    assert gateway.outcomes[-1].result == "ok"


@pytest.mark.parametrize(
    ("headers", "reply"),
    [
        ({"Cache_Control": "no-cache"}, AWAY),
        ({"Cache_Control": "max-age=0"}, AWAY),
        ({"x_foreword_tags": "kind=never"}, AWAY),
        ({}, Reply(status=400)),
    ],
)
async def test_nothing_old_is_told_where_client_route_or_fault_forbid_it(
    gateway: Gateway, headers: dict[str, str], reply: Reply
) -> None:
    tags = {name: value for name, value in headers.items() if name == "x_foreword_tags"}
    await gateway.chat("old", headers=tags)
    await pass_its_time()
    gateway.provider.always("up-small", reply)
    again = await gateway.chat("old", headers=headers)
    assert again.status >= 400


async def test_an_answer_that_gets_old_is_told_and_asked_for_again_once(gateway: Gateway) -> None:
    soft = {"x_foreword_tags": "kind=soft"}
    await gateway.chat("soft", headers=soft)
    gateway.provider.always("up-small", Reply(words=("Renewed", ".")))
    told = [await gateway.chat("soft", headers=soft) for _ in range(3)]
    assert [one.headers["x-foreword-cache"] for one in told] == ["hit"] * 3
    async with asyncio.timeout(30):
        text = ""
        while text != "Renewed.":
            text = folded(await gateway.chat("soft", headers=soft)).text or ""
    assert [one.origin for one in gateway.outcomes].count("refresh") == 1
    assert len(gateway.provider.requests) == 2
