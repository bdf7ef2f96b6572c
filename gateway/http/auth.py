"""Who is calling: a gateway key, or, where switched on, a direct local caller without one.

Never compares or keeps a secret itself: keys.py does.
"""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import web

from gateway.errors import RequestFailed, http_failure
from gateway.http.state import Services
from gateway.keys import Caller
from gateway.ports import StoreUnavailable

LOOPBACK = Caller(tenant="local", key_id="loopback", allowed_models=None)
_PROXY_HEADERS = ("forwarded", "x-real-ip", "via", "origin")


def known_caller(request: web.Request, services: Services) -> Caller | None:
    """Return a caller whose key this worker verified a moment ago; None: ask `caller_of`."""
    given = request.headers.get("Authorization")
    return None if given is None else services.keys.cached(bearer_of(given))


async def caller_of(request: web.Request, services: Services) -> Caller:
    """Return the caller. Raises RequestFailed: 401 without a valid key, 503 for an unknown key while Redis is away."""
    given = request.headers.get("Authorization")
    if given is None:
        if services.settings.allow_unauthenticated_loopback and is_direct_local(request):
            return LOOPBACK
        raise http_failure(401, "no API key: send 'Authorization: Bearer <a gateway key>'")
    secret = bearer_of(given)
    if not secret:
        raise http_failure(401, "the Authorization header must be 'Bearer <a gateway key>'")
    try:
        identified = await services.keys.identify(secret)
    except StoreUnavailable:
        raise RequestFailed(
            "the key store is away and this key is not known here yet; try again",
            status=503,
            type="server_error",
            code="key_store_unavailable",
            retry_after_s=1.0,
        ) from None
    if identified is None:
        raise http_failure(401, "this API key is unknown or revoked; see `foreword keys list`")
    return identified


def require_admin(http: web.Request, services: Services) -> None:
    """Raise the 404 of a gateway without /admin, or the 401 of a wrong key; compared in constant time."""
    key = services.settings.admin_key
    if key is None:
        raise http_failure(404, f"{http.method} {http.path[:128]}: there is no such endpoint")
    given = bearer_of(http.headers.get("Authorization", ""))
    # "surrogateescape": a header may hold any bytes.
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.get_secret_value().encode()):
        raise http_failure(401, "this needs the admin key")


def bearer_of(authorization: str) -> str:
    """Return the secret of a `Bearer` Authorization header, "" where it is none. Not fit to be shown or logged."""
    return authorization[7:].strip() if authorization[:7].lower() == "bearer " else ""


def is_direct_local(request: web.Request) -> bool:
    """Whether nothing suggests that a proxy on this host, or a web page, sent the request (wire.md)."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not isinstance(peer, tuple) or not ipaddress.ip_address(peer[0]).is_loopback:
        return False
    names = [name.lower() for name in request.headers]
    if any(name in _PROXY_HEADERS or name.startswith("x-forwarded-") for name in names):
        return False
    if request.method == "POST" and request.content_type != "application/json":
        return False
    return _is_loopback_host(request.headers.get("Host", ""))


def _is_loopback_host(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
