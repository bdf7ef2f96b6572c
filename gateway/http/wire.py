"""Between HTTP and the flow: what headers and bodies ask for on the way in, and what the headers say on the way out.

Parses at the edge, so that nothing behind it sees a header. Sends nothing itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gateway.cache.recall import Recalled
from gateway.dollars import usd
from gateway.errors import from_bad_request, http_failure
from gateway.http.state import REQUEST_ID, SPENDING, Services
from gateway.keys import Caller
from gateway.trail import NO_WISHES, Ask, CacheControl, Trail
from policies.model import Dialect
from router.arrived import at_hand
from router.facts import BadRequest, read_request
from router.types import ChatRequest

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TAG: Final = re.compile(r"[A-Za-z0-9._-]{1,32}=[A-Za-z0-9._:/-]{1,64}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SESSION: Final = re.compile(r"[\x21-\x7e]{1,128}")
_NO_TAGS: Final[frozenset[str]] = frozenset()
MAX_TAGS: Final = 16
MAX_DEADLINE_MS: Final = 86_400_000


def request_id_of(headers: Mapping[str, str], services: Services) -> str:
    """Return the client's request id where it is fit to be logged, else a new one."""
    given = headers.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else services.new_request_id()


async def read_body(request: web.Request, services: Services) -> bytes:
    """Return the whole body. Raises RequestFailed: 413 too large, 408 too slow, 400 encoded."""
    limit, content = services.settings.max_body_bytes, request.content
    body = at_hand(content)
    if body is not None and len(body) <= limit and "Content-Encoding" not in request.headers:
        return body  # it came plain, whole and small, with its head, as nearly all do
    if request.content_length is not None and request.content_length > limit:
        raise http_failure(413, f"the body has {request.content_length} bytes, the most allowed is {limit}")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise http_failure(400, "Content-Encoding: send the body as it is (identity)", code="unsupported_encoding")
    if content.is_eof() and content.exception() is None:
        body = content.read_nowait()
        if len(body) > limit:
            raise http_failure(413, f"the body has more than {limit} bytes, the most allowed")
        return body
    try:
        async with asyncio.timeout(services.settings.body_read_timeout_s):
            return await _read(request, limit)
    except TimeoutError:
        raise http_failure(408, f"the body did not arrive within {services.settings.body_read_timeout_s:g} s") from None


async def _read(request: web.Request, limit: int) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise http_failure(413, f"the body has more than {limit} bytes, the most allowed") from None
    except web.RequestPayloadError:
        raise http_failure(400, "the body ended early or is badly chunked") from None


def read_ask(
    http: web.Request, body: bytes, services: Services, *, caller: Caller, dialect: Dialect, received_s: float
) -> Ask:
    """Turn one request into an Ask. Raises RequestFailed (400) naming the field or header."""
    recalled = services.recall.find(body)
    if recalled is not None and recalled.request.dialect == dialect:
        request = recalled.request
        return ask_for(http, request, caller=caller, endpoint=dialect, received_s=received_s, recalled=recalled)
    try:
        request = read_request(body, dialect=dialect, limits=services.limits)
    except BadRequest as exc:
        raise from_bad_request(exc) from None
    return ask_for(http, request, caller=caller, endpoint=dialect, received_s=received_s)


def ask_for(
    http: web.Request,
    request: ChatRequest,
    *,
    caller: Caller,
    endpoint: str,
    received_s: float,
    recalled: Recalled | None = None,
) -> Ask:
    """Add what the headers ask for to a request that has been read."""
    headers = http.headers
    return Ask(
        request=request,
        caller=caller,
        request_id=http[REQUEST_ID],
        endpoint=endpoint,
        received_s=received_s,
        session=session_of(headers) if "x-foreword-session" in headers else "",
        tags=tags_of(headers) if "x-foreword-tags" in headers else _NO_TAGS,
        cache_control=cache_control_of(headers, request.document),
        deadline_s=deadline_of(headers) if "x-foreword-deadline-ms" in headers else None,
        traceparent=traceparent_of(headers) if "traceparent" in headers else None,
        spending=http.get(SPENDING),
        recalled=recalled,
    )


def session_of(headers: Mapping[str, str]) -> str:
    """Read `x-foreword-session`, which keeps a conversation together. Raises RequestFailed."""
    session = headers.get("x-foreword-session", "")
    if session and not _SESSION.fullmatch(session):
        raise http_failure(400, "x-foreword-session: up to 128 printable characters without spaces")
    return session


def traceparent_of(headers: Mapping[str, str]) -> str | None:
    """Return a well-formed W3C traceparent; another one is dropped, as the specification asks."""
    trace = headers.get("traceparent")
    return trace if trace is not None and _TRACEPARENT.fullmatch(trace) else None


def tags_of(headers: Mapping[str, str]) -> frozenset[str]:
    """Read `x-foreword-tags: task=fallacy, show=weekly`. Raises RequestFailed."""
    given = headers.get("x-foreword-tags")
    if not given:
        return frozenset()
    tags = frozenset(tag.strip() for tag in given.split(",") if tag.strip())
    if len(tags) > MAX_TAGS or not all(_TAG.fullmatch(tag) for tag in tags):
        raise http_failure(400, f"x-foreword-tags: at most {MAX_TAGS} comma-separated key=value pairs")
    return tags


def deadline_of(headers: Mapping[str, str]) -> float | None:
    """Read `x-foreword-deadline-ms` as seconds. Raises RequestFailed."""
    given = headers.get("x-foreword-deadline-ms")
    if given is None:
        return None
    is_short = len(given) <= len(str(MAX_DEADLINE_MS)) and given.isascii() and given.isdecimal()
    if not is_short or not 1 <= int(given) <= MAX_DEADLINE_MS:
        raise http_failure(400, f"x-foreword-deadline-ms: a whole number of milliseconds, 1 to {MAX_DEADLINE_MS}")
    return int(given) / 1000


def cache_control_of(headers: Mapping[str, str], document: Mapping[str, object]) -> CacheControl:
    """Merge RFC 9111's Cache-Control with LiteLLM's `cache` object. Raises RequestFailed for a malformed object."""
    given = headers.get("Cache-Control")
    wished = document.get("cache")
    if given is None and wished is None:
        return NO_WISHES
    directives = _directives(given or "")
    if wished is not None and not isinstance(wished, dict):
        raise http_failure(400, "cache: expected an object {ttl, no-cache, no-store, namespace}", param="cache")
    wished = wished or {}
    namespace, ttl = wished.get("namespace", ""), wished.get("ttl")
    if not isinstance(namespace, str) or (namespace and not _NAMESPACE.fullmatch(namespace)):
        raise http_failure(
            400, "cache.namespace: up to 64 letters, digits, '.', '_', ':', '-'", param="cache.namespace"
        )
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl < 1e9):
        raise http_failure(400, "cache.ttl: expected seconds above 0", param="cache.ttl")
    max_age = directives.get("max-age", "")
    return CacheControl(
        no_cache="no-cache" in directives or wished.get("no-cache") is True,
        no_store="no-store" in directives or wished.get("no-store") is True,
        only_if_cached="only-if-cached" in directives,
        max_age_s=float(max_age) if max_age.isdecimal() else None,
        ttl_s=float(ttl) if ttl is not None else None,
        namespace=namespace,
    )


def _directives(header: str) -> dict[str, str]:
    pairs = (part.strip().lower().partition("=") for part in header.split(","))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs if name}


def answer_lines(trail: Trail, *, now_s: float) -> list[str]:
    """Return what an answer says of itself (wire.md) as header lines; a stream's cost is not known yet and is left out.

    So is who answers where the head goes out with a heartbeat, before anybody has: the chunks name the model.
    """
    ask, route_class, plan, told = trail.ask, trail.route_class, trail.plan, trail.told
    lines = [
        f"x-request-id: {ask.request_id}",
        f"x-foreword-cache: {trail.cache}",
        f"Cache-Status: {_cache_status(trail)}",
        f"x-foreword-attempts: {trail.attempts_so_far() if told is None else len(told.attempts)}",
        f"x-foreword-reason: {trail.cache if plan is None else plan.reason}",
    ]
    if told is not None:
        lines += _answered_lines(told.routed_model, told.provider, told.is_simulated, told.overhead_s)
        lines += _cost_lines(told.cost_nanousd, told.saved_nanousd)
    elif not trail.is_unanswered:
        model, provider, _, simulated, _ = trail.answered_by()
        overhead_s = max(0.0, now_s - ask.received_s - trail.provider_wait_s())
        lines += _answered_lines(model, provider, simulated, overhead_s)
        if trail.flight is None or trail.flight.finished is not None:
            lines += _cost_lines(trail.cost_nanousd(), trail.saved_nanousd())
    if route_class is not None:
        lines.append(f"x-foreword-route: {route_class.route.name}")
        lines.append(f"x-foreword-policy: {route_class.policy}@{route_class.policy_version}")
    if trail.stored is not None:
        lines.append(f"Age: {int(trail.age_s)}")
    if trail.cache == "semantic-hit" and trail.looked is not None:
        lines.append(f"x-foreword-similarity: {trail.looked.similarity:.4f}")
    if ask.spending is not None:
        lines += [f"{name}: {value}" for name, value in ask.spending.headers(now=trail.clock.now()).items()]
    return lines


def _answered_lines(model: str, provider: str, simulated: bool, overhead_s: float) -> list[str]:
    lines = [f"x-foreword-model: {model}", f"x-foreword-overhead-ms: {overhead_s * 1000:.3f}"]
    if simulated:
        lines.append("x-foreword-simulated: 1")
    if provider:
        lines.append(f"x-foreword-provider: {provider}")
    return lines


def _cost_lines(cost_nanousd: int | None, saved_nanousd: int) -> tuple[str, str]:
    cost = "unknown" if cost_nanousd is None else usd(cost_nanousd)
    return f"x-foreword-cost-usd: {cost}", f"x-foreword-saved-usd: {usd(saved_nanousd)}"


def _cache_status(trail: Trail) -> str:
    """RFC 9211."""
    if trail.cache in ("hit", "semantic-hit", "stale") and trail.stored is not None:
        return f"foreword; hit; ttl={int(trail.stored.ttl_s - trail.age_s)}; detail={trail.tier}"
    if trail.cache == "joined":
        return "foreword; fwd=miss; collapsed"
    return "foreword; fwd=miss" if trail.cache == "miss" else "foreword; fwd=bypass"
