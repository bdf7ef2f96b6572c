"""A body is taken as it lies only where it is whole, in one piece and small; against aiohttp's own reader."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD

from router.arrived import at_hand


async def reader(*pieces: bytes, has_ended: bool = True) -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(BaseProtocol(loop), 65_536, loop=loop)
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
