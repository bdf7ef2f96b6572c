"""Keeping a request for the warmer, as a pure step: what a miss pays for it, and what one without warming does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.cache.codec import StoredAnswer
from gateway.clock import SystemClock
from gateway.keys import Caller
from gateway.outcome import Outcome
from gateway.retained.keeper import Keeper
from gateway.trail import Ask, Trail
from gateway.waiting import Command
from policies.model import Policy, RequestFacts, RouteClass
from policies.rules import WarmingRules
from router.types import ChatRequest

KEY = "0" * 64


class _Nowhere:
    def post(self, command: Command) -> None:
        """Drop it."""


def keep(
    request: ChatRequest, policy: Policy, route_class: RouteClass, answer: StoredAnswer, *, is_on: bool
) -> Callable[[], object]:
    """Return what keeps one chat request beside its answer, or finds that it need not."""
    clock = SystemClock()
    rules = WarmingRules(limit_nanousd_day=1) if is_on else None
    facts: RequestFacts = route_class.facts
    ask = Ask(
        request=request,
        caller=Caller(tenant=facts.tenant, key_id="key-0123456789ab", allowed_models=None),
        request_id="req-0",
        endpoint="chat",
        received_s=clock.monotonic(),
    )
    trail = Trail(
        ask=ask,
        clock=clock,
        sink=_drop,
        price_of=lambda _: None,
        started_at=0.0,
        facts=facts,
        policy=replace(policy, warming=rules),
        route_class=route_class,
    )
    keeper = Keeper(posts=_Nowhere(), clock=clock, most_bytes=64 * 1024**2)
    return lambda: keeper.keep(ask, trail, answer, key=KEY)


def _drop(_outcome: Outcome) -> None: ...
