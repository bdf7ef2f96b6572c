"""POST /v1/feedback: a client's judgement of an answer that its tenant was given; what routing learns from."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.errors import RequestFailed, from_bad_request, http_failure
from gateway.http.access import admitted, admitted_at_hand
from gateway.http.state import REQUEST_ID, SERVICES
from gateway.http.wire import read_body
from gateway.knowledge.feedback import read_feedback
from gateway.ports import StoreUnavailable
from router.facts import BadRequest, read_object


async def create(http: web.Request) -> web.StreamResponse:
    """Take `{request_id, score | thumbs, comment?}`; 404 for a request nobody knows, 409 for one judged already."""
    services = http.app[SERVICES]
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        body = await read_body(http, services)
        try:
            given = read_feedback(read_object(body, limits=services.limits))
        except BadRequest as exc:
            raise from_bad_request(exc) from None
        try:
            verdict, decision = await services.knowledge.feedback(caller.tenant, given.request_id, given.quality)
        except StoreUnavailable:
            raise RequestFailed(
                "feedback cannot be kept while Redis is away; try again",
                status=503,
                type="server_error",
                code="unavailable",
                retry_after_s=1.0,
            ) from None
    if decision is None:
        message = (
            f"no answer of request {given.request_id!r} awaits feedback: those are remembered for a day for which a"
            " route with a quality floor chose the model afresh (no cache hit), and only for the tenant that asked;"
            " steps of a pipeline are named <id>.<step>"
        )
        raise http_failure(404, message, code="request_not_found", param="request_id")
    if verdict == "given":
        message = f"request {given.request_id!r} has had its feedback"
        raise http_failure(409, message, code="feedback_given", param="request_id")
    services.tell_feedback(caller.tenant, given)
    shown = {
        "object": "foreword.feedback",
        "request_id": given.request_id,
        "score": given.quality,
        "model": decision.group,
        "route": decision.route,
        "task": decision.task,
    }
    return web.Response(
        body=orjson.dumps(shown), content_type="application/json", headers={"x-request-id": http[REQUEST_ID]}
    )
