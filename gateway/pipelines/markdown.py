"""A run's result as a chat answer: Markdown for people, JSON for programs that ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import orjson

from gateway.pipelines.report import PipelineReport, StepReport

_LONGEST_QUOTE = 280


def chat_content(report: PipelineReport, form: Literal["markdown", "json"]) -> str:
    """Return the assistant's content for a finished run."""
    if form == "json":
        return orjson.dumps(report.as_json()).decode()
    return "\n".join(_lines(report)).strip() + "\n"


def _lines(report: PipelineReport) -> Iterator[str]:
    simulated = any(answer.is_simulated for step in report.steps for answer in step.answers)
    yield f"# {report.pipeline.capitalize()}: {report.status}"
    if simulated:
        yield ""
        yield "**Simulated:** no language model read this transcript."
    for step in report.steps:
        yield ""
        yield f"## {step.name.replace('_', ' ').capitalize()}"
        if step.error is not None:
            yield f"*{step.status}: {step.error.message}*"
        if step.result is not None:
            yield from _members(step.result)
        if step.dropped_quotes:
            yield ""
            yield f"*{step.dropped_quotes} quote(s) left out: not in the transcript.*"
    yield ""
    yield _footer(report.steps, report.wall_s)


def _members(result: Mapping[str, object]) -> Iterator[str]:
    for name, value in result.items():
        yield ""
        if isinstance(value, list):
            yield f"**{name.replace('_', ' ').capitalize()}**"
            yield from (_bullet(item) for item in value)
            if not value:
                yield "- none found"
        else:
            yield str(value)


def _bullet(item: object) -> str:
    """Return one line: the quoted and named parts first, then whatever else the item holds."""
    if not isinstance(item, Mapping):
        return f"- {item}"
    left = {key: value for key, value in item.items() if key != "span"}
    title = left.pop("class", left.pop("name", None))
    speaker, quote = left.pop("speaker", None), left.pop("quote", None)
    parts = [f"**{str(title).replace('_', ' ')}**"] if title else []
    if speaker:
        parts.append(f"{speaker}:")
    if isinstance(quote, str):
        flat = " ".join(quote.split())
        parts.append(f"“{flat if len(flat) <= _LONGEST_QUOTE else flat[:_LONGEST_QUOTE] + '…'}”")
    rest = "; ".join(_plain(key, value) for key, value in left.items() if value not in ("", [], None))
    return "- " + " ".join(parts) + (f" ({rest})" if rest and parts else rest)


def _plain(key: object, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float | int):
        return f"{key} {value:g}"
    return str(value)


def _footer(steps: tuple[StepReport, ...], wall_s: float) -> str:
    total_s = sum(step.wall_s for step in steps)
    return f"*{len(steps)} steps in {wall_s:.2f} s (one after the other: {total_s:.2f} s).*"
