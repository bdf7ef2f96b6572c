"""POST /v1/pipelines/{name}: run a pipeline, answered as JSON or as events."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import from_bad_request
from gateway.http.access import admitted, admitted_at_hand
from gateway.http.runs import posted_by, send_named, send_whole
from gateway.http.state import SERVICES
from gateway.http.wire import read_body
from router.facts import BadRequest, read_object


async def run(http: web.Request) -> web.StreamResponse:
    """Run a pipeline by its name in the path."""
    services = http.app[SERVICES]
    received_s = services.clock.monotonic()
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        body = await read_body(http, services)
        try:
            document = read_object(body, limits=services.limits)
        except BadRequest as exc:
            raise from_bad_request(exc) from None
        posted = posted_by(http, document, caller, received_s)
        interaction = services.interactions.open(http.match_info["name"], posted, is_chat=False)
        if interaction.request.stream:
            return await send_named(http, interaction)
        report = await interaction.whole()
        return send_whole(report.as_json(), report, posted.request_id)
