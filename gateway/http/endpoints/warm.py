"""POST /v1/warm: announce what will be asked, to have it answered before; GET /v1/warm/{id}: what became of it.

Answers as soon as it is kept: the warmer's process does the rest (gateway/announced).
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import orjson
from aiohttp import web

from gateway.announced.reading import MAX_BYTES, Wishes, read_wishes, within
from gateway.announced.records import Announcement, Kept, announcement_id
from gateway.announced.shelf import MAX_OPEN, Shelf
from gateway.announced.told import as_json
from gateway.budgets.away import NoRedis
from gateway.errors import RequestFailed, from_bad_request, http_failure, overloaded
from gateway.http.access import admitted, admitted_at_hand
from gateway.http.runs import posted_by
from gateway.http.state import REQUEST_ID, SERVICES, Services
from gateway.http.wire import read_body, session_of, tags_of
from gateway.keys import Caller
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from router.facts import BadRequest, read_object

_NAME: Final = re.compile(r"[\x21-\x7e]{1,128}")
_ID: Final = re.compile(r"warm-[0-9a-f]{32}")
_LONG_BYTES: Final = 65_536
_FULL_RETRY_S: Final = 5.0


async def create(http: web.Request) -> web.StreamResponse:
    """Keep an announcement and answer 202; the same one again is the same id, and is not asked again."""
    services = http.app[SERVICES]
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        name = _idempotency_key(http)
        body = await read_body(http, services)
        if len(body) > MAX_BYTES:
            raise http_failure(413, f"an announcement may have {MAX_BYTES} bytes, this has {len(body)}")
        _refuse_where_off(services, caller)
        if len(body) > _LONG_BYTES:  # reading it takes more than a millisecond
            announcement = await asyncio.to_thread(_read, http, services, caller, name, body)
        else:
            announcement = _read(http, services, caller, name, body)
        kept, is_repeat = await _post(services, announcement, has_key=name is not None)
    return _answer(http, kept, status=202, is_repeat=is_repeat)


async def show(http: web.Request) -> web.StreamResponse:
    """Tell what became of an announcement of the caller's tenant; 404 for every other."""
    services = http.app[SERVICES]
    with admitted_at_hand(http, services) or await admitted(http, services) as caller:
        name = http.match_info["id"]
        try:
            kept = await _shelf(services).find(caller.tenant, name) if _ID.fullmatch(name) else None
        except StoreUnavailable:
            raise _away() from None
    if kept is None:
        raise http_failure(
            404, f"there is no announcement {name[:64]!r} (any more)", code="announcement_not_found", param="id"
        )
    return _answer(http, kept, status=200, is_repeat=None)


def _idempotency_key(http: web.Request) -> str | None:
    given = http.headers.get("Idempotency-Key")
    if given is not None and not _NAME.fullmatch(given):
        raise http_failure(400, "Idempotency-Key: up to 128 printable characters without spaces")
    return given


def _refuse_where_off(services: Services, caller: Caller) -> None:
    policy = services.book.current().for_tenant(caller.tenant)
    if policy.warming is None:
        message = f"warming is off in policy {policy.name!r}; `warming: {{limit_usd_day: …}}` there turns it on"
        raise RequestFailed(message, status=409, type="invalid_request_error", code="warming_off", should_retry=False)


def _read(http: web.Request, services: Services, caller: Caller, name: str | None, body: bytes) -> Announcement:
    """Check everything as if it were asked now. Raises RequestFailed naming the field."""
    now = services.clock.now()
    try:
        wishes = read_wishes(read_object(body, limits=services.limits), limits=services.limits)
    except BadRequest as exc:
        raise from_bad_request(exc) from None
    _check_runs(http, services, caller, wishes)
    session, tags = session_of(http.headers), tags_of(http.headers)
    content = wishes.content(session, tags)
    return Announcement(
        id=announcement_id(caller.tenant, content if name is None else f"key {name}"),
        tenant=caller.tenant,
        key_id=caller.key_id,
        allowed_models=caller.allowed_models,
        session=session,
        tags=tags,
        level=wishes.level,
        created_at=now,
        ready_by=None if wishes.ready_by_s is None else now + wishes.ready_by_s,
        content=content,
        count=len(wishes.items),
        items=wishes.items,
    )


def _check_runs(http: web.Request, services: Services, caller: Caller, wishes: Wishes) -> None:
    for item, place in zip(wishes.items, wishes.places, strict=True):
        if not item.pipeline:
            continue
        posted = posted_by(http, orjson.loads(item.body), caller, services.clock.monotonic())
        try:
            services.interactions.open(item.pipeline, posted, is_chat=False)
        except RequestFailed as wrong:
            wrong.param = within(place, wrong.param or "pipeline")
            raise


async def _post(services: Services, announcement: Announcement, *, has_key: bool) -> tuple[Kept, bool]:
    shelf = _shelf(services)
    try:
        posting = await shelf.post(announcement)
        kept = await shelf.find(announcement.tenant, announcement.id)
        if posting == "known" and kept is not None and not kept.has_ended:
            await shelf.queue_again(announcement)
    except StoreUnavailable:
        raise _away() from None
    services.metrics.announced(posting)
    if posting == "full":
        raise overloaded(
            f"this tenant has {MAX_OPEN} announcements open, the most allowed", retry_after_s=_FULL_RETRY_S
        )
    if kept is None:  # it ended its life between the two looks
        raise _away()
    if has_key and kept.announcement.content != announcement.content:
        raise http_failure(422, "this Idempotency-Key was used for another announcement", code="idempotency_key_reused")
    return kept, posting == "known"


def _away() -> RequestFailed:
    return RequestFailed(
        "announcements cannot be kept while Redis is away; try again",
        status=503,
        type="server_error",
        code="unavailable",
        retry_after_s=1.0,
    )


def _shelf(services: Services) -> Shelf:
    store = services.store
    return Shelf(store if isinstance(store, RedisStore) else NoRedis(), services.clock)


def _answer(http: web.Request, kept: Kept, *, status: int, is_repeat: bool | None) -> web.Response:
    shown = as_json(kept)
    if is_repeat is not None:
        shown["is_repeat"] = is_repeat
    headers = {"x-request-id": http[REQUEST_ID], "Location": f"/v1/warm/{kept.announcement.id}"}
    return web.Response(body=orjson.dumps(shown), status=status, content_type="application/json", headers=headers)
