"""Questions asked again through the same flow, beside their requests: at lowest priority, never shown, always booked.

A few at once; what comes when there are too many is not asked. Must not decide what is asked again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson

from gateway.cache.semantic.eligibility import asked_text
from gateway.delivery import Reply
from gateway.errors import RequestFailed
from gateway.supervisor import Supervisor, SupervisorClosed
from gateway.trail import Ask, CacheControl, Trail
from policies.model import CacheRules
from router.facts import BadRequest, DoorLimits, read_request
from router.types import ChatRequest

Run = Callable[[Ask], Awaitable[Reply]]
MOST_AT_ONCE: Final = 16


class LateRun:
    """Flow.run, for a part that the flow is made of: `run` is set once there is one."""

    __slots__ = ("run",)

    def __init__(self) -> None:
        self.run: Run | None = None

    async def __call__(self, ask: Ask) -> Reply:
        """Ask. Raises as Flow.run does."""
        assert self.run is not None, "asked before the gateway was made"
        return await self.run(ask)


@dataclass(slots=True, kw_only=True)
class Background:
    """Bounded work that outlives its request. `dropped` counts what was not even begun."""

    supervisor: Supervisor
    most: int = MOST_AT_ONCE
    running: int = 0
    dropped: int = 0

    def begin(self, work: Coroutine[object, object, None], *, name: str, is_bounded: bool = True) -> bool:
        """Start `work`, unless there is too much already or the gateway is closing; return whether it began.

        Work of which there is never more than one need not be `is_bounded`.
        """
        if is_bounded and self.running >= self.most:
            self.dropped += 1
            work.close()
            return False
        try:
            task = self.supervisor.spawn(work, name=name)
        except SupervisorClosed:
            return False
        self.running += 1
        task.add_done_callback(self._ended)
        return True

    def _ended(self, _: object) -> None:
        self.running -= 1


def asked_again(trail: Trail, *, limits: DoorLimits, text: str | None, keep: bool) -> Ask | None:
    """Return a request as the cache itself asks it: unstreamed, reading nothing, storing only with `keep`.

    `text` replaces the question. None where the question cannot be replaced.
    """
    ask = trail.ask
    document = dict(ask.request.document)
    document.pop("stream_options", None)
    document["stream"] = False
    if text is not None:
        replaced = with_question(document, text)
        if replaced is None:
            return None
        document = replaced
    try:
        request: ChatRequest = read_request(orjson.dumps(document), dialect=ask.request.dialect, limits=limits)
    except (BadRequest, orjson.JSONEncodeError):
        return None
    control = CacheControl(no_cache=True, no_store=not keep, namespace=ask.cache_control.namespace)
    return msgspec.structs.replace(
        ask,
        request=request,
        request_id=f"again-{secrets.token_hex(8)}",
        parent_request_id=ask.request_id,
        origin="refresh",
        received_s=trail.clock.monotonic(),
        session=trail.facts.session or ask.request_id,  # the rollout arm of the first time
        spending=None,
        cache_control=control,
        deadline_s=None,
        traceparent=None,
        on_first_token=None,
    )


async def answered(run: Run, ask: Ask) -> Reply | None:
    """Return the reply, None where the request failed: its Outcome has said so."""
    try:
        reply = await run(ask)
    except RequestFailed:
        return None
    flight = reply.trail.flight
    if flight is not None:
        # The answer is told before its call has ended; only then is it known whether it may be kept.
        ended = asyncio.Event()
        flight.when_done(ended.set)
        await ended.wait()
    return reply


def with_question(document: dict[str, object], text: str) -> dict[str, object] | None:
    """Return the document with its last message's question replaced, all that is attached to it kept."""
    found = asked_text(document, CacheRules())
    messages = document.get("messages")
    if found is None or not isinstance(messages, list):
        return None
    *before, last = messages
    content = last.get("content")
    if isinstance(content, str):
        return {**document, "messages": [*before, {**last, "content": _replaced(content, found.question, text)}]}
    at = max(index for index, part in enumerate(content) if isinstance(part.get("text"), str))
    parts = list(content)
    parts[at] = {**parts[at], "text": _replaced(parts[at]["text"], found.question, text)}
    return {**document, "messages": [*before, {**last, "content": parts}]}


def _replaced(content: str, question: str, text: str) -> str:
    """Return `content` with its last `question` replaced: the attachment before it may hold the same words."""
    before, found, after = content.rpartition(question)
    return before + text + after if found else text
