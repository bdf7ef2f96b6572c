"""A body is taken as it lies only where it is whole, in one piece and small; against aiohttp's own reader."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.test_utils import TestServer

from router.arrived import at_hand, next_piece


async def reader(*pieces: bytes, has_ended: bool = True) -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    content = aiohttp.StreamReader(protocol, 65_536, loop=loop)
    for piece in pieces:
        content.feed_data(piece)
    if has_ended:
        content.feed_eof()
    return content


async def test_one_small_piece_is_the_body_and_can_still_be_read() -> None:
    content = await reader(b'{"a": 1}')
    assert at_hand(content) == b'{"a": 1}'
    assert content.read_nowait() == b'{"a": 1}'


@pytest.mark.parametrize("pieces", [(), (b"a", b"b"), (b"x" * 65_536,)])
async def test_no_body_several_pieces_and_a_large_one_are_read_as_usual(pieces: tuple[bytes, ...]) -> None:
    assert at_hand(await reader(*pieces)) is None


async def test_what_goes_on_broke_off_or_was_read_before_is_not_at_hand() -> None:
    assert at_hand(await reader(b"a", has_ended=False)) is None
    broken = await reader(b"a")
    broken.set_exception(aiohttp.ClientPayloadError("cut"))
    assert at_hand(broken) is None
    read = await reader(b"abc")
    assert await read.read(1) == b"a"
    assert at_hand(read) is None
    assert at_hand(EMPTY_PAYLOAD) is None


async def test_all_that_has_come_is_one_piece_and_the_end_is_empty() -> None:
    content = await reader(b"a", b"bc", has_ended=False)
    assert await next_piece(content) == b"abc"
    asyncio.get_running_loop().call_soon(content.feed_data, b"d")
    assert await next_piece(content) == b"d"
    asyncio.get_running_loop().call_soon(content.feed_eof)
    assert [await next_piece(content), await next_piece(content), await content.readany()] == [b"", b"", b""]
    assert await next_piece(EMPTY_PAYLOAD) == b""


async def test_a_body_that_breaks_off_raises_also_for_who_waits() -> None:
    content = await reader(has_ended=False)
    asyncio.get_running_loop().call_soon(content.set_exception, aiohttp.ClientPayloadError("cut"))
    for _ in range(2):
        with pytest.raises(aiohttp.ClientPayloadError):
            await next_piece(content)


async def test_what_is_left_of_a_piece_and_what_comes_after_it_are_read_as_usual() -> None:
    content = await reader(b"abc", b"d")
    assert await content.read(1) == b"a"
    assert await next_piece(content) == b"bcd"


async def test_a_chunked_body_larger_than_all_buffers_arrives_whole() -> None:
    block = bytes(range(256)) * 64
    blocks = 40

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(blocks):
            await response.write(block + b"%d" % number)
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(read_bufsize=4096) as session,
        session.get(server.make_url("/")) as answered,
    ):
        pieces = []
        while piece := await next_piece(answered.content):
            pieces.append(piece)
    assert b"".join(pieces) == b"".join(block + b"%d" % number for number in range(blocks))
