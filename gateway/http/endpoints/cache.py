"""/admin/cache for operators: figures, one answer's origin, and withdrawals (dry runs unless told otherwise)."""

from __future__ import annotations

import msgspec
import orjson
from aiohttp import web

from gateway.cache.withdraw import Selection
from gateway.errors import RequestFailed, http_failure
from gateway.http.auth import require_admin
from gateway.http.state import SERVICES
from gateway.http.wire import read_body
from gateway.ports import StoreUnavailable
from gateway.semantic import admin


class _Wanted(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A selection, and whether it is meant."""

    dry_run: bool = True


async def stats(http: web.Request) -> web.StreamResponse:
    """Show how many answers there are, and how every semantic class stands."""
    services = http.app[SERVICES]
    require_admin(http, services)
    try:
        found = await admin.stats(services.store, services.book.current(), clock=services.clock)
    except StoreUnavailable as error:
        raise _unavailable() from error
    return _json(admin.shown_stats(found))


async def show(http: web.Request) -> web.StreamResponse:
    """Show where an answer comes from and which questions lead to it."""
    services = http.app[SERVICES]
    require_admin(http, services)
    try:
        found = await admin.show(services.store, http.match_info["id"])
    except StoreUnavailable as error:
        raise _unavailable() from error
    if found is None:
        raise http_failure(404, "no stored answer has this id, or one that begins so (8 characters at least)")
    return _json(admin.shown_answer(*found, now=services.clock.now()))


async def withdraw(http: web.Request) -> web.StreamResponse:
    """Withdraw answers: `{"tenant": "acme", "dry_run": false}`; without `dry_run: false` only count them."""
    services = http.app[SERVICES]
    require_admin(http, services)
    wanted = _wanted(await read_body(http, services))
    selection = Selection(**{name: getattr(wanted, name) for name in Selection.__struct_fields__})
    if selection.is_empty:
        raise http_failure(400, f"say which answers: give at least one of {', '.join(Selection.__struct_fields__)}")
    try:
        done = await admin.withdraw(
            services.store, selection, by="admin", is_dry_run=wanted.dry_run, clock=services.clock
        )
    except StoreUnavailable as error:
        raise _unavailable() from error
    return _json(admin.shown_withdrawal(done))


def _wanted(body: bytes) -> _Wanted:
    try:
        return msgspec.json.decode(body, type=_Wanted)
    except msgspec.DecodeError as error:
        raise http_failure(400, f"the body: {error}") from None


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _unavailable() -> RequestFailed:
    return http_failure(503, "the store is away; try again")
