"""What a plan is told where a budget or a limit has too little for it, and what is known then of what is left.

Must not ask a budget: it is given the answer.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from gateway.budgets.books import Exceeded, Unavailable
from gateway.errors import RequestFailed
from policies.bounds import Size
from policies.narrowing import Cut, Headroom, Refusal

LOCAL_RETRY_S: Final = 1.0
"""When to ask again while Redis is away."""


def size_seen(size: Size | None, cap: int | None, *, attempts: int) -> Headroom:
    """Return how large a request is whose answers are capped at `cap`, before anything is known of what is left."""
    if size is None:
        return Headroom(attempts=attempts)
    return Headroom(input_tokens=size.input - (cap or 0), choices=size.choices, attempts=attempts)


def may_narrow(seen: Headroom) -> bool:
    """Whether less of a plan may still be granted: a limit on tokens, and a budget that is away, refuse all of it."""
    return seen.tokens_left is None and not seen.is_away


def refused_by(found: Exceeded | Unavailable, seen: Headroom, *, need: int, tokens: int) -> Headroom:
    """Return what is known of what is left now that somebody said no: less than was asked for, in any case."""
    name = found.meter.name
    if isinstance(found, Unavailable):
        return replace(seen, budget=name, is_away=True)
    if found.meter.unit != "nanousd":
        return replace(seen, budget=name, tokens_left=min(found.most, tokens - 1))
    return replace(seen, budget=name, left_nanousd=min(found.most, need - 1))


def plan_failed(found: Exceeded | Unavailable | None, seen: Headroom, *, now: float) -> RequestFailed:
    """Return the failure of a request of whose plan nothing is left, with what is to be recorded of that; None found:
    what it may cost has no upper bound."""
    failure = _unbounded() if found is None else failed(found, now=now)
    failure.headroom, failure.cut = seen, Cut(refusal="cost_unbounded" if found is None else _why(found))
    return failure


def failed(found: Exceeded | Unavailable, *, now: float) -> RequestFailed:
    """Return what the client is told; `now` is Unix seconds."""
    meter = found.meter
    if isinstance(found, Unavailable):
        return RequestFailed(
            f"the budget ({meter.name}) cannot be checked now, and it is a hard one",
            status=503,
            type="server_error",
            code="budget_unavailable",
            retry_after_s=LOCAL_RETRY_S,
        )
    wait_s = max(0.0, meter.ends_at - now)
    if meter.unit != "nanousd":
        return RequestFailed(
            f"limit reached: {meter.limit} {meter.name}; the gateway's limit, not the provider's",
            status=429,
            type="rate_limit_error",
            code="rate_limit_exceeded",
            retry_after_s=wait_s,
        )
    return RequestFailed(
        f"budget used up: {meter.limit / 1e9:g} USD, {meter.name}; {max(0, found.free) / 1e9:g} USD are left,"
        " less than this request may cost",
        status=429,
        type="rate_limit_error",
        code="budget_exceeded",
        retry_after_s=wait_s,
        should_retry=False,
    )


def _why(found: Exceeded | Unavailable) -> Refusal:
    if isinstance(found, Unavailable):
        return "budget_unavailable"
    return "budget_exceeded" if found.meter.unit == "nanousd" else "rate_limit_exceeded"


def _unbounded() -> RequestFailed:
    return RequestFailed(
        "this request's cost has no upper bound (no known price, no max_tokens, or a server-side tool or file),"
        " and a hard budget applies to it",
        status=400,
        type="invalid_request_error",
        code="cost_unbounded",
        should_retry=False,
    )
