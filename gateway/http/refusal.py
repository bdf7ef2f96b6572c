"""Turns a refusal at the door into its response, and tells of it: one Outcome unless the flow told of it already."""

from __future__ import annotations

from aiohttp import web

from gateway.errors import RequestFailed
from gateway.http.errors import error_response
from gateway.http.state import Services
from gateway.outcome import Outcome


def refuse(
    services: Services,
    failure: RequestFailed,
    *,
    request_id: str,
    received_s: float,
    endpoint: str = "none",
    tenant: str = "",
) -> web.Response:
    """Count, record and return the failure. `received_s` is the clock's monotonic reading at arrival."""
    services.metrics.http_request(endpoint, failure.status)
    if not failure.is_recorded:
        total_s = services.clock.monotonic() - received_s
        services.sink(
            Outcome(
                request_id=request_id,
                origin="user",
                endpoint=endpoint,
                started_at=services.clock.now() - total_s,
                result="error",
                status=failure.status,
                tenant=tenant,
                error_code=failure.code,
                error_type=failure.type,
                error_source=failure.source,
                total_s=total_s,
                overhead_s=total_s,
            )
        )
    return error_response(failure, request_id)
