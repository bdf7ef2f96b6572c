"""A pipeline's run as something that can be wanted again: its key, and how it is kept beside its steps' answers.

Pure; the steps' answers stay where they are, each with its own key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import orjson

from gateway.outcome import WarmedBy
from gateway.pipelines.ports import StepAnswer
from gateway.pipelines.request import RunRequest
from gateway.posted import Posted
from gateway.retained.kept import Kept

FORMAT: Final = b"foreword/run/1\0"


def run_key(request: RunRequest, *, tenant: str, namespace: str, transcript: str) -> str:
    """Return the hexadecimal digest of what was posted; `transcript` is the SHA-256 of its text."""
    named = [
        tenant,
        request.pipeline.name,
        request.pipeline.key_version,
        None if request.steps is None else sorted(request.steps),
        request.model,
        sorted(request.model_hints.items()),
        namespace,
        transcript,
    ]
    return hashlib.sha256(FORMAT + orjson.dumps(named)).hexdigest()


def kept_run(
    posted: Posted, request: RunRequest, answers: Sequence[StepAnswer], *, transcript: str, total_s: float
) -> Kept | None:
    """Return a run that went well as it is kept; None where a step may not be, or where nothing of it is new."""
    parts = tuple(answer.part for answer in answers if answer.part is not None)
    if len(parts) < len(answers) or not any(answer.cache == "miss" for answer in answers):
        return None
    allowed = posted.caller.allowed_models
    return Kept(
        kind="run",
        body=orjson.dumps(posted.document),
        dialect="chat",
        tenant=posted.caller.tenant,
        key_id=posted.caller.key_id,
        allowed_models=None if allowed is None else tuple(sorted(allowed)),
        session=posted.session,
        tags=tuple(sorted(posted.tags)),
        namespace=posted.cache_control.namespace,
        parts=parts,
        wait_s=posted.warming.wait_s if posted.warming is not None else total_s,
        ttl_s=min(answer.ttl_s for answer in answers),
        cost_nanousd=sum((answer.cost_nanousd or 0) + answer.saved_nanousd for answer in answers),
        pipeline=request.pipeline.name,
        is_chat="messages" in posted.document,
        transcript=transcript,
    )


def warmed_by(answers: Sequence[StepAnswer]) -> WarmedBy:
    """Return who had a run's answers made, where none had to be made for it; "" where a caller did."""
    if any(answer.cache not in ("hit", "semantic-hit") for answer in answers):
        return ""
    return next((answer.warmed_by for answer in answers if answer.warmed_by), "")


def left_s(answers: Sequence[StepAnswer]) -> float:
    """Return for how long every answer of a run is good yet; 0 where one was not stored."""
    return max(0.0, min((answer.ttl_s - answer.age_s for answer in answers), default=0.0))
