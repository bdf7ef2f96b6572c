"""The outermost layer: every request gets an id, every failure the one error body, every bug a log line with its trace.

The one place besides the Supervisor that may catch everything.
"""

from __future__ import annotations

from itertools import chain

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.errors import RequestFailed, http_failure, internal
from gateway.http.refusal import refuse
from gateway.http.routes import endpoint_of
from gateway.http.state import CALLER_TENANT, REQUEST_ID, SERVICES, SPENDING, Services
from gateway.http.wire import request_id_of


@web.middleware
async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """See the module."""
    services = request.app[SERVICES]
    request_id = request_id_of(request.headers, services)
    request[REQUEST_ID] = request_id
    received_s = services.clock.monotonic()
    try:
        _check_header_size(request, services.settings.max_header_bytes)
        response = await handler(request)
    except RequestFailed as failure:
        return _refused(request, services, failure, received_s)
    except web.HTTPException as exc:
        refused = _refused(request, services, _plain(request, exc), received_s)
        if "Allow" in exc.headers:  # RFC 9110 15.5.6: a 405 names the methods that are right
            refused.headers["Allow"] = exc.headers["Allow"]
        return refused
    except Exception as exc:
        services.report_crash(request_id, exc)
        if request.writer.output_size > 0:
            # The answer has begun: another status line would become part of its text. server.py drops the connection.
            raise ConnectionError("the answer broke off") from exc
        return _refused(request, services, internal(), received_s)
    services.metrics.http_request(endpoint_of(request), response.status)
    return response


def _refused(request: web.Request, services: Services, failure: RequestFailed, received_s: float) -> web.Response:
    refused = refuse(
        services,
        failure,
        request_id=request[REQUEST_ID],
        received_s=received_s,
        endpoint=endpoint_of(request),
        tenant=request.get(CALLER_TENANT, ""),
    )
    spending = request.get(SPENDING)
    if spending is not None:
        refused.headers.update(spending.headers(now=services.clock.now()))
    return refused


def _check_header_size(request: web.Request, limit: int) -> None:
    """The parser bounds each line; together they are bounded here."""
    if len(b"".join(chain.from_iterable(request.raw_headers))) > limit:  # joining takes half of what summing does
        raise http_failure(400, f"the headers have more than {limit} bytes, the most allowed", code="headers_too_large")


def _plain(request: web.Request, exc: web.HTTPException) -> RequestFailed:
    if exc.status == 404:
        return http_failure(404, f"{request.method} {request.path[:128]}: there is no such endpoint")
    if exc.status == 405:
        return http_failure(405, f"{request.method} is not allowed for {request.path[:128]}")
    return http_failure(exc.status, exc.reason)
