"""GET /v1/models: the groups and pipelines that the caller's key may name."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.errors import http_failure
from gateway.http.access import admitted, admitted_at_hand
from gateway.http.state import REQUEST_ID, SERVICES, Services
from gateway.keys import Caller
from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX


async def list_all(http: web.Request) -> web.StreamResponse:
    """List them in OpenAI's shape."""
    services = http.app[SERVICES]
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        return _json(http, {"object": "list", "data": _entries(services, caller)})


async def show(http: web.Request) -> web.StreamResponse:
    """Show one by name, or a 404."""
    services = http.app[SERVICES]
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        wanted = http.match_info["model"]
        for entry in _entries(services, caller):
            if entry["id"] == wanted:
                return _json(http, entry)
        raise http_failure(404, f"there is no model {wanted[:128]!r}", code="model_not_found", param="model")


def _entries(services: Services, caller: Caller) -> list[dict[str, object]]:
    cards = services.deployments.catalogue()
    entries: list[dict[str, object]] = [
        {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": ",".join(card.providers),
            "mode": card.mode,
            "context_window": card.context_window,
            "max_output_tokens": card.max_output_tokens,
            "simulated": card.is_simulated,
        }
        for name, card in sorted(cards.items())
    ]
    entries += [
        {
            "id": PIPELINE_MODEL_PREFIX + name,
            "object": "model",
            "created": 0,
            "owned_by": "foreword",
            "mode": "pipeline",
        }
        for name in services.interactions.names()
    ]
    allowed = caller.allowed_models
    return entries if allowed is None else [e for e in entries if e["id"] in allowed]


def _json(http: web.Request, value: object) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), content_type="application/json", headers={"x-request-id": http[REQUEST_ID]}
    )
