"""/admin for operators: what runs, which policies, which providers. A 404 without an admin key in the settings."""

from __future__ import annotations

import hmac

import orjson
from aiohttp import web

from gateway.errors import http_failure
from gateway.http.auth import bearer_of
from gateway.http.state import SERVICES, Services


async def status(http: web.Request) -> web.StreamResponse:
    """Show policy versions, deployments found and left out, groups cooling down, and the store's state."""
    services = http.app[SERVICES]
    require_admin(http, services)
    return web.Response(body=orjson.dumps(services.details()), content_type="application/json")


def require_admin(http: web.Request, services: Services) -> None:
    """Raise the 404 of a gateway without /admin, or the 401 of a wrong key; compared in constant time."""
    key = services.settings.admin_key
    if key is None:
        raise http_failure(404, f"{http.method} {http.path[:128]}: there is no such endpoint")
    given = bearer_of(http.headers.get("Authorization", ""))
    # "surrogateescape": a header may hold any bytes.
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.get_secret_value().encode()):
        raise http_failure(401, "this needs the admin key")
