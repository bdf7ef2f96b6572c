"""Server-sent events on an aiohttp response. Writes blocks as they come and never looks inside them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiohttp import web

from gateway.cache.codec import DONE
from gateway.http.ready import event_stream


async def send_events(
    request: web.Request, blocks: AsyncGenerator[bytes, None], lines: Sequence[str]
) -> web.StreamResponse:
    """Send every block, after a head with those header lines.

    A client that leaves closes `blocks` early, which is how its owner learns of it.
    """
    response = event_stream(request, lines)
    async with aclosing(blocks) as source:
        try:
            # Begun before the client can be found gone: a generator that never ran does not hear of being closed.
            first = await anext(source, b"")
            await response.prepare(request)
            await _send(response, first)
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
