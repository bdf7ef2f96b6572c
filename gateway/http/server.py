"""aiohttp's server with the one error body for requests that are no HTTP, and an application runner that uses it.

Must stay a thin shell: everything here is bound to the pinned aiohttp (tests/http/test_limits.py watches it).
"""

from __future__ import annotations

import asyncio
import secrets

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.errors import http_failure
from gateway.http.errors import error_response


class _Handler(RequestHandler):
    """Answers what the parser refuses (bad request line, header too large) with our error body."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        code = "headers_too_large" if exc is not None and type(exc).__name__ == "LineTooLong" else None
        said = "a header or the request line is too long" if code else "the request is not valid HTTP/1.1"
        if status >= 500:
            said = "the gateway failed to handle this request"
        response = error_response(http_failure(400 if status < 500 else 500, said, code=code), secrets.token_hex(8))
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        loop = asyncio.get_running_loop()
        return _Handler(self, loop=loop, **self._kwargs)


class GatewayRunner(web.AppRunner):
    """An AppRunner whose connections answer in the gateway's own words."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **made._kwargs)
