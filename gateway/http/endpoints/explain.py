"""GET /explain/{request-id}: why an ended request of the caller's own tenant got what it got."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.errors import http_failure
from gateway.explaining import shown_outcome
from gateway.http.access import admitted, admitted_at_hand
from gateway.http.state import REQUEST_ID, SERVICES
from gateway.ports import StoreUnavailable


async def show(http: web.Request) -> web.StreamResponse:
    """Show it, or a 404, which another tenant's request gets as well."""
    services = http.app[SERVICES]
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        wanted = http.match_info["id"]
        try:
            outcome = await services.ledger.look_up(caller.tenant, wanted)
        except StoreUnavailable:
            message = "the ledger is away; try again"
            raise http_failure(503, message, code="ledger_unavailable") from None
        if outcome is None:
            message = f"no request {wanted[:64]!r} of this tenant is known; the ledger remembers the latest ones"
            raise http_failure(404, message, code="request_not_found")
        body = orjson.dumps(shown_outcome(outcome))
        return web.Response(body=body, content_type="application/json", headers={"x-request-id": http[REQUEST_ID]})
