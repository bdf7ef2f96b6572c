"""What became of a run, as values and as the JSON that callers see; decides nothing and asks nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from gateway.pipelines.ports import StepAnswer, StepError

StepStatus = Literal["ok", "partial", "failed", "skipped", "cancelled"]
RunStatus = Literal["ok", "partial", "failed"]
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One step as it ended. `partial`: some segments have no result, `error` is the first one's.

    `answers` are all asks of the step, repairs too; `wall_s` runs from its first ask to its last answer.
    """

    name: str
    status: StepStatus
    result: Mapping[str, object] | None = None
    error: StepError | None = None
    answers: tuple[StepAnswer, ...] = ()
    segments: int = 0
    failed_segments: int = 0
    wall_s: float = 0.0
    dropped_quotes: int = 0
    corrected_speakers: int = 0

    @property
    def has_failed(self) -> bool:
        """No result at all."""
        return self.result is None

    def as_json(self) -> dict[str, object]:
        """Return the step as it stands in `steps` of the result."""
        body: dict[str, object] = {"status": self.status}
        if self.result is not None:
            body["result"] = self.result
        if self.error is not None:
            body["error"] = asdict(self.error)
        first_tokens = [answer.first_token_s for answer in self.answers if answer.first_token_s is not None]
        return body | {
            "attempts": sum(answer.attempts for answer in self.answers),
            "segments": self.segments,
            "failed_segments": self.failed_segments,
            "cache": _cache(self.answers),
            "cost_usd": cost_usd(self.answers),
            "saved_usd": sum(answer.saved_nanousd for answer in self.answers) / _NANO,
            "tokens": _tokens(self.answers),
            "timings": {
                "wall_s": round(self.wall_s, 6),
                "sum_of_calls_s": round(sum(answer.total_s for answer in self.answers), 6),
                "first_token_s": min(first_tokens, default=None),
            },
            "dropped_quotes": self.dropped_quotes,
            "corrected_speakers": self.corrected_speakers,
            "model": _common(answer.response_model or answer.routed_model for answer in self.answers),
            "simulated": any(answer.is_simulated for answer in self.answers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """A whole run as it ended."""

    run_id: str
    pipeline: str
    version: str
    status: RunStatus
    steps: tuple[StepReport, ...]
    wall_s: float

    def as_json(self) -> dict[str, object]:
        """Return the `pipeline.result` object."""
        answers = [answer for step in self.steps for answer in step.answers]
        tokens = _tokens(answers)
        return {
            "id": self.run_id,
            "object": "pipeline.result",
            "pipeline": self.pipeline,
            "version": self.version,
            "status": self.status,
            "steps": {step.name: step.as_json() for step in self.steps},
            "usage": {
                "prompt_tokens": tokens["input"],
                "completion_tokens": tokens["output"],
                "total_tokens": tokens["input"] + tokens["output"],
                "prompt_tokens_details": {"cached_tokens": tokens["cached"]},
                "completion_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
            },
            "cost_usd": cost_usd(answers),
            "saved_usd": sum(answer.saved_nanousd for answer in answers) / _NANO,
            "simulated": any(answer.is_simulated for answer in answers),
            "wall_s": round(self.wall_s, 6),
            "sum_of_steps_s": round(sum(step.wall_s for step in self.steps), 6),
        }


def status_of(steps: Sequence[StepReport], *, required: frozenset[str]) -> RunStatus:
    """Return failed when nothing or a required step has no result, partial when anything is missing, else ok."""
    failed = {step.name for step in steps if step.has_failed}
    if len(failed) == len(steps) or failed & required:
        return "failed"
    return "ok" if all(step.status == "ok" for step in steps) else "partial"


def cost_usd(answers: Iterable[StepAnswer]) -> float | None:
    """Return what the answers cost in USD; None where one of them has no known price."""
    costs = [answer.cost_nanousd for answer in answers]
    known = [cost for cost in costs if cost is not None]
    return sum(known) / _NANO if len(known) == len(costs) else None


def _tokens(answers: Sequence[StepAnswer]) -> dict[str, int]:
    return {
        "input": sum(answer.usage.input_tokens for answer in answers),
        "output": sum(answer.usage.output_tokens for answer in answers),
        "cached": sum(answer.usage.cached_tokens for answer in answers),
        "reasoning": sum(answer.usage.reasoning_tokens for answer in answers),
    }


def _cache(answers: Sequence[StepAnswer]) -> dict[str, object]:
    """Return the asks' common cache status (`mixed` where they differ) and how many asks each tier answered."""
    return {
        "status": _common(answer.cache for answer in answers) or "bypass",
        "tiers": dict(Counter(answer.cache_tier for answer in answers)),
    }


def _common(values: Iterable[str]) -> str:
    found = list(dict.fromkeys(value for value in values if value))
    return found[0] if len(found) == 1 else "mixed" if found else ""
