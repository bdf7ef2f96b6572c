"""Liveness and readiness. Never calls a provider, and Redis being away makes nothing unready."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.http.state import SERVICES


async def live(http: web.Request) -> web.StreamResponse:
    """200 while the event loop turns."""
    return web.Response(body=b'{"status":"live"}', content_type="application/json")


async def ready(http: web.Request) -> web.StreamResponse:
    """200 when requests are welcome, 503 while starting and draining; details either way."""
    services = http.app[SERVICES]
    shown = {"status": "ready" if services.is_ready else "not ready", **services.details()}
    return web.Response(
        body=orjson.dumps(shown), status=200 if services.is_ready else 503, content_type="application/json"
    )
