"""One request on its way through its attempts, as state. Must not act: router/attempts.py does."""

from __future__ import annotations

from dataclasses import dataclass, field

from policies.model import Plan
from router.errors import AttemptsFailed, ProviderError
from router.itinerary import Itinerary, Turn
from router.leg import Leg
from router.resume import Continuation, Way
from router.types import AttemptRecord, ChatRequest


@dataclass(slots=True, kw_only=True)
class Run:
    """What a request asks, what has been tried, and who answers now. `hedges_left`: races it may still start."""

    request: ChatRequest
    plan: Plan
    traceparent: str | None
    started_s: float
    way: Itinerary
    attempts: list[AttemptRecord]
    keep_text_bytes: int
    hedges_left: int
    turn: Turn | None = None
    leg: Leg | None = None
    error: ProviderError | None = None
    first_events: bytes = b""
    rejoined: Continuation | None = None
    ways_left: list[Way] = field(default_factory=list)

    def failed(self, error: ProviderError | None = None) -> AttemptsFailed:
        """Return the failure to raise: `error`, else the last one."""
        shown = error or self.error or self.way.error
        assert shown is not None
        return AttemptsFailed(shown, tuple(self.attempts))

    @property
    def is_held(self) -> bool:
        """Whether nothing may be delivered before the answer is complete."""
        return self.plan.on_cut == "hold" or not self.request.stream

    @property
    def is_assembled(self) -> bool:
        """Whether the provider is asked for a stream that the client gets as one body."""
        return self.plan.assemble and self.request.dialect == "chat" and not self.request.stream
