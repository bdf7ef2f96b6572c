"""The outermost layer: every request gets an id, every failure the one error body, every bug a log line with its trace.

The one place besides the Supervisor that may catch everything.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.errors import RequestFailed, http_failure, internal
from gateway.http.errors import error_response
from gateway.http.routes import endpoint_of
from gateway.http.state import CALLER_TENANT, REQUEST_ID, SERVICES, Services
from gateway.http.wire import request_id_of
from gateway.outcome import Outcome


@web.middleware
async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """See the module."""
    services = request.app[SERVICES]
    request_id = request_id_of(request.headers)
    request[REQUEST_ID] = request_id
    received_s = services.clock.monotonic()
    try:
        response = await handler(request)
    except RequestFailed as failure:
        return _refused(request, services, failure, received_s)
    except web.HTTPException as exc:
        return _refused(request, services, _plain(request, exc), received_s)
    except Exception as exc:
        services.report_crash(request_id, exc)
        return _refused(request, services, internal(), received_s)
    services.metrics.http_request(endpoint_of(request), response.status)
    return response


def _refused(request: web.Request, services: Services, failure: RequestFailed, received_s: float) -> web.Response:
    services.metrics.http_request(endpoint_of(request), failure.status)
    if not failure.is_recorded:
        services.sink(_door_outcome(request, services, failure, received_s))
    return error_response(failure, request[REQUEST_ID])


def _plain(request: web.Request, exc: web.HTTPException) -> RequestFailed:
    if exc.status == 404:
        return http_failure(404, f"{request.method} {request.path[:128]}: there is no such endpoint")
    if exc.status == 405:
        return http_failure(405, f"{request.method} is not allowed for {request.path[:128]}")
    return http_failure(exc.status, exc.reason)


def _door_outcome(request: web.Request, services: Services, failure: RequestFailed, received_s: float) -> Outcome:
    """What is known of a request that never reached the flow."""
    total_s = services.clock.monotonic() - received_s
    return Outcome(
        request_id=request[REQUEST_ID],
        origin="user",
        endpoint=endpoint_of(request),
        started_at=services.clock.now() - total_s,
        result="error",
        status=failure.status,
        tenant=request.get(CALLER_TENANT, ""),
        error_code=failure.code,
        error_type=failure.type,
        error_source=failure.source,
        total_s=total_s,
        overhead_s=total_s,
    )
