"""The one error body as an HTTP response. Decides nothing: the table is gateway/errors.py."""

from __future__ import annotations

import math

import orjson
from aiohttp import web

from gateway.errors import RequestFailed


def error_response(failure: RequestFailed, request_id: str) -> web.Response:
    """Return the failure as JSON with the headers that SDKs read (Retry-After in s, retry-after-ms, x-should-retry)."""
    headers = {"x-request-id": request_id}
    if failure.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(failure.retry_after_s * 1000)))
    if failure.should_retry is not None:
        headers["x-should-retry"] = "true" if failure.should_retry else "false"
    if failure.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="foreword"'
    return web.Response(
        body=orjson.dumps(failure.body()),
        status=failure.status,
        content_type="application/json",
        headers=headers,
    )
