"""Server-sent events on an aiohttp response. Writes blocks as they come and never looks inside them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import web


def event_response(headers: Mapping[str, str]) -> web.StreamResponse:
    """Return an unprepared response for events; no proxy on the way may buffer it."""
    return web.StreamResponse(
        headers={
            **headers,
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )


async def send_events(
    request: web.Request, blocks: AsyncGenerator[bytes, None], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send every block. A client that leaves closes `blocks` early, which is how its owner learns of it."""
    response = event_response(headers)
    async with aclosing(blocks) as source:
        try:
            # Begun before the client can be found gone: a generator that never ran does not hear of being closed.
            first = await anext(source, b"")
            await response.prepare(request)
            await response.write(first)
            async for block in source:
                await response.write(block)
            await response.write_eof()
        except ConnectionError:
            # Gone between two writes; aclosing tells the source, nothing is left to answer.
            pass
    return response
