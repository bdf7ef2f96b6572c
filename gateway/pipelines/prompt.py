"""Builds a step's chat request: the shared part first and byte-identical, the step's own last; sends nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from gateway.pipelines.segments import Segment
from gateway.pipelines.spec import Pipeline, Step

Body = dict[str, object]


def step_bodies(
    pipeline: Pipeline, step: Step, *, model: str, text: str, segment: Segment, needed: Mapping[str, object]
) -> tuple[Body, Body]:
    """Return (body, cache_body) of a step on one segment of `text`; `needed` are the results it builds on.

    They differ in the transcript alone: as the caller wrote it, and normalised for the exact key.
    """
    opening = f"{segment.continues} (continuing): " if segment.continues else ""
    shown = opening + text[segment.start : segment.end]
    keyed = opening.casefold() + segment.key_text
    return _body(pipeline, step, model, shown, needed), _body(pipeline, step, model, keyed, needed)


def repair_body(body: Mapping[str, object], *, answer: str, problems: str) -> Body:
    """Return `body` continued with an answer that did not fit and what is wrong with it."""
    messages = body["messages"]
    demand = f"That answer does not fit the JSON Schema: {problems}. Answer again in full, with JSON only."
    repaired = [
        *(messages if isinstance(messages, list) else ()),
        {"role": "assistant", "content": answer},
        {"role": "user", "content": demand},
    ]
    return {**body, "messages": repaired}


def _body(pipeline: Pipeline, step: Step, model: str, transcript: str, needed: Mapping[str, object]) -> Body:
    # A mark drawn from the text itself: a transcript cannot close a fence whose name it changes by naming it, and
    # the prefix stays the same for every step and every repetition.
    mark = hashlib.sha256(transcript.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    results = f"\n\nResults so far:\n{json.dumps(needed, ensure_ascii=False, sort_keys=True)}" if needed else ""
    fenced = f"<transcript id={mark}>\n{transcript}\n</transcript id={mark}>"
    schema = {"name": f"{pipeline.name.replace('-', '_')}_{step.name}", "strict": True, "schema": step.output_schema}
    body: Body = {
        "model": model,
        "messages": [
            {"role": "system", "content": pipeline.system},
            {"role": "user", "content": f"{fenced}{results}\n\n{step.instruction}"},
        ],
        "temperature": step.temperature,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    if step.max_output_tokens is not None:
        body["max_tokens"] = step.max_output_tokens
    return body


def without_spans(value: object) -> object:
    """Return `value` without its `span` members: offsets into the caller's text tell a model nothing."""
    if isinstance(value, Mapping):
        return {str(key): without_spans(item) for key, item in value.items() if key != "span"}
    if isinstance(value, list):
        return [without_spans(item) for item in value]
    return value
