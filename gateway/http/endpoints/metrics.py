"""GET /metrics for Prometheus, over all processes of this gateway."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.http.state import SERVICES


async def render(http: web.Request) -> web.StreamResponse:
    """Return the exposition text; collected in a thread, since many workers' files take milliseconds to read."""
    services = http.app[SERVICES]
    body, content_type = await asyncio.to_thread(services.metrics.render)
    return web.Response(body=body, headers={"Content-Type": content_type})
