"""POST /v1/embeddings: the same flow as chat, never streamed."""

from __future__ import annotations

from aiohttp import web

from gateway.http.access import admitted, admitted_at_hand
from gateway.http.answers import deliver, dry_run
from gateway.http.state import SERVICES
from gateway.http.wire import read_ask, read_body


async def create(http: web.Request) -> web.StreamResponse:
    """Answer one embeddings request."""
    services = http.app[SERVICES]
    received_s = services.clock.monotonic()
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        body = await read_body(http, services)
        ask = read_ask(http, body, services, caller=caller, dialect="embeddings", received_s=received_s)
        if http.headers.get("x-foreword-dry-run") == "1":
            return dry_run(services, ask)
        return await deliver(http, services, await services.flow.run(ask))
