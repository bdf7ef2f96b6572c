"""POST /v1/chat/completions: read, ask the flow, send. A model named `pipeline/...` runs that pipeline instead."""

from __future__ import annotations

from aiohttp import web

from gateway.http.access import admitted, admitted_at_hand
from gateway.http.answers import deliver, dry_run
from gateway.http.runs import run_as_model
from gateway.http.state import SERVICES
from gateway.http.wire import read_ask, read_body
from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX


async def create(http: web.Request) -> web.StreamResponse:
    """Answer one chat request, streamed or not."""
    services = http.app[SERVICES]
    received_s = services.clock.monotonic()
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        body = await read_body(http, services)
        ask = read_ask(http, body, services, caller=caller, dialect="chat", received_s=received_s)
        if ask.request.requested_model.startswith(PIPELINE_MODEL_PREFIX):
            return await run_as_model(http, services, ask)
        if http.headers.get("x-foreword-dry-run") == "1":
            return dry_run(services, ask)
        return await deliver(http, services, await services.flow.run(ask))
