"""Blocks that are put into streams go out together and in order, whatever is written beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.http.departures import Departures
from gateway.http.ready import EventStream, event_stream

Act = Callable[[EventStream, Departures], Awaitable[None]]


async def read(act: Act) -> list[bytes]:
    """Return what a client gets of a stream into which `act` writes, chunk by chunk."""
    departures = Departures()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = event_stream(request, ["X-Test: yes"])
        assert isinstance(stream, EventStream)
        await stream.prepare(request)
        await stream.write(b"head ")
        await act(stream, departures)
        await stream.write_eof()
        return stream

    app = web.Application()
    app.router.add_get("/", handler)
    async with (
        TestServer(app, handler_cancellation=True) as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url("/")) as answer,
    ):
        assert answer.headers["X-Test"] == "yes"
        return [chunk async for chunk, is_end in answer.content.iter_chunks() if is_end]


async def test_what_is_put_in_one_turn_is_one_chunk_of_the_next() -> None:
    async def act(stream: EventStream, departures: Departures) -> None:
        for text in (b"a", b"b", b"c"):
            assert departures.put(stream, text) is False
        await asyncio.sleep(0)
        departures.put(stream, b"d")
        await asyncio.sleep(0)

    assert await read(act) == [b"head ", b"abc", b"d"]


async def test_a_stream_that_never_pauses_is_held_up_until_it_was_sent() -> None:
    async def act(stream: EventStream, departures: Departures) -> None:
        block, taken = b"x" * 1024, 1
        while not departures.put(stream, block):
            taken += 1
        assert taken == 17  # more than 16 KiB
        await asyncio.sleep(0)
        assert departures.put(stream, b"y") is False

    assert await read(act) == [b"head ", b"x" * 17 * 1024, b"y"]


@pytest.mark.parametrize("is_last", [False, True])
async def test_what_is_written_waits_for_what_was_put_before_it(is_last: bool) -> None:
    async def act(stream: EventStream, departures: Departures) -> None:
        departures.put(stream, b"a")
        if is_last:
            await stream.write_eof(b"b")
        else:
            await stream.write(b"b")
        await asyncio.sleep(0)

    assert await read(act) == [b"head ", b"ab"]


async def test_streams_of_one_turn_do_not_mix_and_one_that_is_gone_stops_no_other() -> None:
    departures, bodies, go = Departures(), asyncio.Queue[EventStream](), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = event_stream(request, [])
        assert isinstance(stream, EventStream)
        await stream.prepare(request)
        await stream.write(b"head ")
        bodies.put_nowait(stream)
        await go.wait()
        await stream.write_eof()
        return stream

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server, aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(body_of(session, str(server.make_url("/")))) for _ in range(2)]
        one, other = await bodies.get(), await bodies.get()
        departures.put(one, b"one")
        departures.put(other, b"other")
        transport = one._payload_writer.transport if one._payload_writer else None
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            departures.put(one, b"more")
        go.set()
    assert sorted(task.result() for task in asked) == [b"gone", b"head other"]


async def body_of(session: aiohttp.ClientSession, url: str) -> bytes:
    try:
        async with session.get(url) as answer:
            return await answer.read()
    except aiohttp.ClientError:
        return b"gone"
