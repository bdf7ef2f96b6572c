"""/admin for operators: what runs, which policies, which providers. A 404 without an admin key in the settings."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.http.auth import require_admin
from gateway.http.state import SERVICES


async def status(http: web.Request) -> web.StreamResponse:
    """Show policy versions, deployments found and left out, groups cooling down, and the store's state."""
    services = http.app[SERVICES]
    require_admin(http, services)
    return web.Response(body=orjson.dumps(services.details()), content_type="application/json")
