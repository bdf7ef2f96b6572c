"""Server-sent events on an aiohttp response. Writes blocks as they come and never looks inside them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from aiohttp import web

from gateway.cache.codec import DONE
from gateway.cache.follower import Put
from gateway.http.departures import Departures
from gateway.http.ready import EventStream, event_stream


async def send_events(
    request: web.Request,
    blocks: AsyncGenerator[bytes, None],
    lines: Sequence[str],
    departures: Departures,
    *,
    put_through: Callable[[Put], None] | None,
) -> web.StreamResponse:
    """Send every block, after a head with those header lines.

    A client that leaves closes `blocks` early, which is how its owner learns of it. `put_through` is told how a block
    can be sent without waking anybody, once the head and a first block are on their way.
    """
    response = event_stream(request, lines)
    async with aclosing(blocks) as source:
        try:
            # Begun before the client can be found gone: a generator that never ran does not hear of being closed.
            first = await anext(source, b"")
            await response.prepare(request)
            await _send(response, first)
            if put_through is not None and first and isinstance(response, EventStream):
                put_through(partial(departures.put, response))
            async for block in source:
                if block.endswith(DONE):
                    await _send(response, block)
                else:
                    await response.write(block)
            await response.write_eof()
        except ConnectionError:
            # Gone between two writes; aclosing tells the source, nothing is left to answer.
            pass
    return response


async def _send(response: web.StreamResponse, block: bytes) -> None:
    """Send a block; the one that ends in `[DONE]` takes the end of the body with it."""
    if block.endswith(DONE):
        await response.write_eof(block)
    else:
        await response.write(block)
