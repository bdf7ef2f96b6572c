"""An answer on its way to one caller: followed live, told again from the cache, or put together; bytes in, bytes out.

Decides nothing about where an answer comes from (Flow does) and speaks no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec

from gateway.cache.codec import DONE, StoredAnswer, assemble, body_of, disassemble, event, events_of, usage_event
from gateway.cache.exact import Hit
from gateway.cache.follower import DeadlineExceeded, FellBehind, Follower, Interrupted, Put, Source
from gateway.errors import RequestFailed, from_flight
from gateway.trail import Ask, Trail
from router.errors import AttemptsFailed, NoDeployment
from router.types import AnswerEvent, Block, Finished, Opened

FLIGHT_ERRORS = (AttemptsFailed, NoDeployment, DeadlineExceeded, FellBehind, Interrupted)
HEARTBEAT = b": waiting for the model\n\n"
"""A comment, which every client skips, for whoever would take silence for a dead connection: routers, proxies, bots."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer on its way: `body` whole, or `blocks` of server-sent events ending in `[DONE]` or an error event.

    Close `blocks` with contextlib.aclosing; closing early means that the client has left. `put_through`: who sends them
    may have those of a live answer put at once instead (Follower.put_through), from the second one on.
    """

    trail: Trail
    body: bytes | None = None
    blocks: AsyncGenerator[bytes, None] | None = None
    put_through: Callable[[Put], None] | None = None
    provider_headers: Mapping[str, str]


def replay(ask: Ask, trail: Trail, hit: Hit) -> Reply:
    """Tell a stored answer again, streamed or whole as this caller asks."""
    if ask.on_first_token is not None:
        ask.on_first_token()
    trail.head_s = trail.clock.monotonic() - ask.received_s
    if not ask.request.stream:
        trail.close_ok()
        return Reply(trail=trail, body=body_of(hit.answer), provider_headers={})
    return Reply(trail=trail, blocks=_replayed(ask, trail, hit.answer), provider_headers={})


async def deliver(ask: Ask, trail: Trail, follower: Follower) -> Reply:
    """Wait for the answer's head, or for all of it where the caller wants it whole. Raises RequestFailed.

    A stream whose provider is quiet gets its head with the first heartbeat: what fails after that is an error event.
    On cancel the caller leaves the call; who else follows it notices nothing.
    """
    try:
        if ask.request.stream:
            begun = await follower.next_or_quiet()
            if begun is not None:
                trail.head_s = trail.clock.monotonic() - ask.received_s
            headers = begun.headers if isinstance(begun, Opened | Finished) else {}
            blocks = _streamed(ask, trail, follower, begun)
            return Reply(trail=trail, blocks=blocks, put_through=follower.put_through, provider_headers=headers)
        first = await follower.next()
        if ask.on_first_token is not None:
            ask.on_first_token()
        while not isinstance(first, Finished):
            _check_whole(follower.flight)  # at once: an answer without end would be read, and paid, up to the deadline
            first = await follower.next()
        body = _whole(follower.flight, first)
    except FLIGHT_ERRORS as exc:
        follower.close()
        raise from_flight(exc) from exc
    except (asyncio.CancelledError, RequestFailed):
        follower.close()
        raise
    follower.close()
    trail.close_ok()
    return Reply(trail=trail, body=body, provider_headers=first.headers)


def _whole(flight: Source, finished: Finished) -> bytes:
    if finished.body is not None:
        return finished.body
    _check_whole(flight)
    return assemble(flight.blocks() + (finished.usage_event or b""), usage=finished.usage)


def _check_whole(flight: Source) -> None:
    if not flight.is_whole:
        raise RequestFailed(
            "the answer is too large to be put together; ask for a stream",
            status=502,
            type="server_error",
            code="answer_too_large",
            should_retry=False,
        )


async def _replayed(ask: Ask, trail: Trail, answer: StoredAnswer) -> AsyncGenerator[bytes, None]:
    try:
        yield b"".join((*events_of(answer, include_usage=ask.request.include_usage), DONE))
        trail.close_ok()
    finally:
        trail.close_left()


async def _streamed(
    ask: Ask, trail: Trail, follower: Follower, first: AnswerEvent | None
) -> AsyncGenerator[bytes, None]:
    try:
        current = first
        while not isinstance(current, Finished):
            if isinstance(current, Block):
                if trail.first_token_s is None:
                    trail.first_token_s = trail.clock.monotonic() - ask.received_s
                yield current.data
            elif current is None:
                yield HEARTBEAT
            elif not trail.head_s:  # it went out before; this is when it could have without heartbeats
                trail.head_s = trail.clock.monotonic() - ask.received_s
            current = await follower.next_or_quiet()
        yield _ending(ask, follower.flight, current)
        trail.close_ok()
    except FLIGHT_ERRORS as exc:
        failure = from_flight(exc)
        trail.close_failed(failure)
        # A client library says nothing when a stream merely ends: the error is an event, and no [DONE] follows.
        yield event(failure.body())
    finally:
        _leave(trail, follower)


def _ending(ask: Ask, flight: Source, finished: Finished) -> bytes:
    content, usage = b"", finished.usage_event
    if finished.body is not None:
        content, usage = disassemble(finished.body)
    elif usage is None and ask.request.include_usage and flight.is_whole:
        usage = usage_event(flight.blocks(), finished.usage)
    return content + (usage if usage and ask.request.include_usage else b"") + DONE


def _leave(trail: Trail, follower: Follower) -> None:
    """End a streamed delivery. A client that hangs up after finish_reason has its answer: usage is still drained."""
    has_answer = not trail.is_closed and follower.has_seen_finish()
    follower.close(keep_running=has_answer)
    if has_answer:
        trail.close_ok()
    else:
        trail.close_left()
