"""One door for every client endpoint: who calls, and whether that key has too many requests open already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.errors import overloaded
from gateway.http.auth import caller_of
from gateway.http.state import CALLER_TENANT, Services
from gateway.keys import Caller


@asynccontextmanager
async def admitted(http: web.Request, services: Services) -> AsyncIterator[Caller]:
    """Hold one of the caller's places while its request is served. Raises RequestFailed (401, 429, 503)."""
    caller = await caller_of(http, services)
    http[CALLER_TENANT] = caller.tenant
    limit = services.settings.max_connections_per_key
    if services.open_by_key[caller.key_id] >= limit:
        raise overloaded(f"this key has {limit} requests open, the most allowed", retry_after_s=1.0)
    services.open_by_key[caller.key_id] += 1
    services.metrics.in_flight_changed(1)
    try:
        yield caller
    finally:
        services.metrics.in_flight_changed(-1)
        services.open_by_key[caller.key_id] -= 1
        if not services.open_by_key[caller.key_id]:
            del services.open_by_key[caller.key_id]
