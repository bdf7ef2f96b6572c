"""Adds up what the attempts of one request used, and makes its last event. Must not decide or wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.leg import Leg
from router.resume import Continuation
from router.types import AttemptRecord, ChatRequest, Finished, Usage
from router.usage import estimated_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """One race: whether the second call gave the first token, and what the other one costs (None: no known price)."""

    has_won: bool
    wasted_nanousd: int | None


def total(attempts: Sequence[AttemptRecord]) -> tuple[Usage | None, int | None]:
    """Return the sums of usage and cost (nano-dollars) over all attempts that produced anything.

    The cost is None where one of them has no known price; usage is None where there was none.
    """
    charged = [attempt for attempt in attempts if attempt.usage is not None]
    if len(charged) == 1:
        return charged[0].usage, charged[0].cost_nanousd
    usages = [attempt.usage for attempt in charged if attempt.usage is not None]
    costs = [attempt.cost_nanousd for attempt in charged]
    known = [cost for cost in costs if cost is not None]
    return _sum(usages), sum(known) if len(known) == len(costs) else None


def finished_event(
    leg: Leg,
    request: ChatRequest,
    attempts: tuple[AttemptRecord, ...],
    started_s: float,
    rejoined: Continuation | None,
) -> Finished:
    """Return the last event of an answer whose last leg is `leg`; all attempts have ended."""
    usage, cost = total(attempts)
    if usage is None:
        usage = estimated_usage(request, 0)
    event = leg.usage_event
    return Finished(
        deployment=leg.deployment,
        attempts=attempts,
        body=leg.body,
        usage=usage,
        cost_nanousd=cost,
        response_model=leg.response_model,
        finish_reasons=leg.finish_reasons,
        usage_event=event if rejoined is None else rejoined.usage_event(event, usage),
        first_token_s=leg.started_s + (leg.first_token_s or 0.0) - started_s if leg.is_streamed else None,
        headers=leg.headers,
        malformed_events=leg.malformed_events,
    )


def hedges_of(attempts: Sequence[AttemptRecord]) -> tuple[Hedge, ...]:
    """Return what became of each hedge. Whoever loses a race is written down first, the winner when it is done."""
    found = []
    for place, attempt in enumerate(attempts):
        if attempt.reason == "hedge":
            before = attempts[place - 1] if place else None
            has_won = attempt.result == "ok" or (before is not None and before.result == "cancelled")
            loser = before if has_won else attempt
            found.append(Hedge(has_won=has_won, wasted_nanousd=loser.cost_nanousd if loser is not None else 0))
    return tuple(found)


def _sum(usages: Sequence[Usage]) -> Usage | None:
    if not usages:
        return None
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        is_estimated=any(usage.is_estimated for usage in usages),
    )
