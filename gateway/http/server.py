"""aiohttp's server with the one error body for requests that are no HTTP, and an application runner that uses it.

Must stay a thin shell: everything here is bound to the pinned aiohttp (tests/http/test_limits.py watches it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_urldispatcher import UrlMappingMatchInfo as Found

from gateway.errors import RequestFailed, http_failure, internal
from gateway.http.middlewares import outermost
from gateway.http.refusal import refuse
from gateway.http.site import Crowd
from gateway.http.state import SERVICES, Services


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
        if request.writer.output_size > 0:
            raise ConnectionError("an answer that has begun cannot become an error")  # aiohttp closes, and logs nothing
        if not isinstance(self._manager, _Server):
            raise ConnectionError("the client has left")
        return self._manager.refused(_failure(status, exc), crash=exc if status >= 500 else None)


def _failure(status: int, exc: BaseException | None) -> RequestFailed:
    if status >= 500:
        return internal()
    if isinstance(exc, LineTooLong):
        return http_failure(400, "a header or the request line is too long", code="headers_too_large")
    return http_failure(400, "the request is not valid HTTP/1.1")


class _Server(web.Server):
    """Makes a handler per connection. `services` hears of what never reached the application's middleware."""

    def __init__(
        self, made: web.Server, services: Services, known: Mapping[tuple[str, str], Found], crowd: Crowd
    ) -> None:
        # Not among `_kwargs`: without it a client that leaves would go on costing money.
        cancels = made.handler_cancellation
        super().__init__(
            made.request_handler, request_factory=made.request_factory, handler_cancellation=cancels, **made._kwargs
        )
        self._answer = made.request_handler
        self._services = services
        self._known = known
        self._crowd = crowd
        self.is_leaving = False
        self.request_handler = self._answered

    def __call__(self) -> RequestHandler:
        loop = asyncio.get_running_loop()
        return _Handler(self, loop=loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._crowd.changed(1)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._crowd.changed(-1)

    def refused(self, failure: RequestFailed, *, crash: BaseException | None = None) -> web.Response:
        """Return the error as a response after which the connection ends."""
        services, request_id = self._services, self._services.new_request_id()
        if crash is not None:
            services.report_crash(request_id, crash)
        response = refuse(services, failure, request_id=request_id, received_s=services.clock.monotonic())
        response.force_close()
        return response

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        expected = request.headers.get("Expect")
        # aiohttp looks at this header before any middleware runs, and words its own refusal.
        if expected is not None and expected.lower() != "100-continue":
            return self.refused(http_failure(417, "Expect: only 100-continue can be met"))
        if self.is_leaving:  # the answer then says `Connection: close`, and the client comes back to another worker
            request._message = request._message._replace(should_close=True)
        asked = request._message  # its path is as it was sent, of which aiohttp would make a URL first
        known = self._known.get((asked.method, asked.path)) or self._known.get((request.method, request.path))
        if known is None or expected is not None or not isinstance(request, web.Request):
            return await self._answer(request)
        # What aiohttp's router would find out again for every request (30 us) never changes for these paths.
        request._match_info = known
        return await outermost(request, known.handler)


class GatewayRunner(web.AppRunner):
    """An AppRunner whose connections answer in the gateway's own words; `crowd` counts them."""

    crowd: Crowd

    @property
    def connections(self) -> int:
        """Connections that are open now, idle ones included."""
        return self.crowd.connections

    async def leave(self) -> None:
        """Accept nothing more; whoever is connected gets one more answer, and is told to close.

        An idle connection stays open: its client may be sending at this very moment.
        """
        for site in self.sites:
            await site.stop()
        if isinstance(self.server, _Server):
            self.server.is_leaving = True

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self.app[SERVICES], _plain_routes(self.app), self.crowd)


def _plain_routes(app: web.Application) -> dict[tuple[str, str], Found]:
    """Return what the router finds for each path that has no variable part."""
    found: dict[tuple[str, str], Found] = {}
    for route in app.router.routes():
        path = route.resource.canonical if isinstance(route.resource, web.PlainResource) else None
        if path is not None:
            info = Found({}, route)
            info.add_app(app)
            info.freeze()
            found[route.method, path] = info
    return found
