"""A cheap answer first, held until it is checked, then a better one where it does not pass: as one run of attempts.

Both legs are paid and booked; the caller sees the events of one of them. Must not judge an answer itself
(gateway.acceptance does) nor stream what has not been accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec.structs import replace

from gateway.acceptance import shortcoming
from gateway.cache.codec import assemble
from policies.model import Cascade, Plan
from router.attempts import Attempts
from router.books import total
from router.errors import AttemptsFailed, NoDeployment
from router.types import AnswerEvent, AttemptRecord, Block, ChatRequest, Finished, Opened, Priority


async def cascaded(
    attempts: Attempts,
    request: ChatRequest,
    plan: Plan,
    cascade: Cascade,
    *,
    traceparent: str | None,
    journal: list[AttemptRecord],
    priority: Priority,
    tenant: str,
) -> AsyncGenerator[AnswerEvent, None]:
    """Yield the events of the first answer where it is accepted, else those of the plan without its first model.

    A first model that fails counts as not accepted. Raises AttemptsFailed where nobody answers; cancel drops whichever
    call is under way. What both legs used and cost is in the last event. Both together make no more attempts than the
    plan says, for so many were reserved.
    """
    most = plan.max_attempts

    def run(part: Plan, into: list[AttemptRecord]) -> AsyncGenerator[AnswerEvent, None]:
        return attempts.run(request, part, traceparent=traceparent, journal=into, priority=priority, tenant=tenant)

    held: list[AnswerEvent] = []
    first = replace(plan, candidates=(cascade.first,), assemble=True, hedge=None, max_attempts=_at_least_one(most, 1))
    try:
        async with aclosing(run(first, journal)) as events:
            held = [event async for event in events]
    except (AttemptsFailed, NoDeployment):
        held = []
    if held and await _is_accepted(held, request, cascade):
        for event in held:
            yield event
        return
    spent = tuple(journal)
    rest = tuple(group for group in plan.candidates if group != cascade.first)
    second: list[AttemptRecord] = []
    try:
        left = _at_least_one(most, len(spent))
        async with aclosing(run(replace(plan, candidates=rest, max_attempts=left), second)) as events:
            async for event in events:
                yield _with(spent, event)
    finally:
        journal.extend(_escalated(tuple(second)))


def _at_least_one(most: int | None, kept: int) -> int | None:
    """Return what is left of `most` attempts beside `kept` of them; None has no number of its own."""
    return None if most is None else max(1, most - kept)


async def _is_accepted(held: list[AnswerEvent], request: ChatRequest, cascade: Cascade) -> bool:
    finished = held[-1]
    if not isinstance(finished, Finished):
        return False
    body = finished.body
    if body is None:
        body = assemble(b"".join(event.data for event in held if isinstance(event, Block)), usage=finished.usage)
    # A schema check of a long answer takes milliseconds.
    return not await asyncio.to_thread(shortcoming, body, request.document, cascade.accept)


def _with(spent: tuple[AttemptRecord, ...], event: AnswerEvent) -> AnswerEvent:
    """Add the first leg to what the second one says of itself."""
    if isinstance(event, Opened):
        return replace(event, attempts=(*spent, *event.attempts))
    if isinstance(event, Finished):
        attempts = (*spent, *_escalated(event.attempts))
        usage, cost = total(attempts)
        return replace(event, attempts=attempts, usage=usage or event.usage, cost_nanousd=cost)
    return event


def _escalated(attempts: tuple[AttemptRecord, ...]) -> tuple[AttemptRecord, ...]:
    return tuple(replace(attempt, reason="cascade") if attempt.reason == "first" else attempt for attempt in attempts)
