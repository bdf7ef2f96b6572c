"""What a pipeline needs from the outside: one way to ask for a step's answer, and what comes back; no transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.outcome import CacheStatus, CacheTier, Source, WarmedBy
from gateway.part import Part
from router.types import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """Which part of the transcript an ask is about: `start` and `end` in code points of the caller's own text."""

    index: int
    count: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAsk:
    """One chat request on behalf of a step.

    `body` goes to the provider. `cache_body` is `body` with the transcript replaced by its normalised form
    (`cache_text`): build the exact key from `cache_body` and from nothing else of the body, so that another layout of
    the same words is a hit. That is safe because quotes are checked, and spans and speakers set, after the cache,
    against the caller's own text. `pipeline_version` belongs into the key too. `deadline_s` is what is left.
    `is_repair`: the second try of a step whose first answer did not fit its schema.
    """

    pipeline: str
    pipeline_version: str
    step: str
    model: str
    body: Mapping[str, object]
    cache_body: Mapping[str, object]
    cache_text: str
    tags: tuple[str, ...]
    parent_request_id: str
    deadline_s: float
    segment: SegmentRef | None
    is_repair: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepError:
    """Why a step has no result, in the words of the one error body."""

    message: str
    type: str
    code: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer:
    """What became of one ask. `content` is the assistant's text, or why there is none.

    Fields are those of Outcome; `cost_nanousd` is None where the model has no known price. `part` names the stored
    answer for who keeps the run to have it asked again, None where there is none or it may not be kept.
    """

    content: str | StepError
    usage: Usage = field(default_factory=Usage)
    cost_nanousd: int | None = 0
    saved_nanousd: int = 0
    cache: CacheStatus = "bypass"
    cache_tier: CacheTier = "none"
    attempts: int = 0
    routed_model: str = ""
    response_model: str = ""
    is_simulated: bool = False
    total_s: float = 0.0
    first_token_s: float | None = None
    ttl_s: float = 0.0
    age_s: float = 0.0
    warmed_by: WarmedBy = ""
    part: Part | None = None


class AskStep(Protocol):
    """Sends a step's request through the gateway's one path."""

    async def __call__(self, ask: StepAsk, *, on_first_token: Callable[[], None] | None = None) -> StepAnswer:
        """Answer, with every failure of the request as a StepError value; a raised exception is a bug.

        Call `on_first_token` once the provider's answer begins (or the cached one is found); never calling it is
        allowed, the end of the ask counts too. Cancelling gives up the answer.
        """
        ...
