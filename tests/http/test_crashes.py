"""The outermost layer when a handler has a bug: an error body before the answer has begun, a cut connection after."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.http.middlewares import outermost
from gateway.http.server import GatewayRunner
from gateway.http.site import Crowd
from gateway.http.state import SERVICES
from gateway.inherited import Places
from tests.http.raw import wire_to
from tests.http.refusals import assert_error_body
from tests.http.running import Gateway

PROMPT = "PROMPT-7f3a"


@asynccontextmanager
async def served(
    gateway: Gateway, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[str]:
    """Serve one handler of a test behind the real outermost layer, with the services of a real gateway."""
    app = web.Application(middlewares=[outermost])
    app[SERVICES] = gateway.worker.services
    app.router.add_get("/", handler)
    runner = GatewayRunner(app, access_log=None, handler_cancellation=True)
    runner.crowd = Crowd(Places(1), 0)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


async def crash(_: web.Request) -> web.StreamResponse:
    raise RuntimeError(PROMPT)


async def begin_and_crash(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"data: half\n\n")
    raise RuntimeError(PROMPT)


async def test_a_crash_before_the_answer_is_one_500_and_the_connection_goes_on(gateway: Gateway) -> None:
    async with served(gateway, crash) as url, wire_to(url) as wire:
        for _ in range(2):
            await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await wire.answer()
            assert answer.status == 500
            assert assert_error_body(answer)["code"] == "internal_error"
    assert [(outcome.status, outcome.error_code) for outcome in gateway.outcomes] == [(500, "internal_error")] * 2


async def test_a_crash_within_an_answer_cuts_it_and_adds_no_second_answer(gateway: Gateway) -> None:
    async with served(gateway, begin_and_crash) as url, wire_to(url) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        said = await wire.rest()
    assert said.startswith(b"HTTP/1.1 200")
    assert said.count(b"HTTP/1.") == 1
    assert b"error" not in said
    assert said.endswith(b"data: half\n\n\r\n")  # no last chunk: the client knows that it has not all
