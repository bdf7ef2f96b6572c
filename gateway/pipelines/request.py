"""What a caller asks of a pipeline, checked: a run's parameters from an API body or from chat messages; no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX, Pipeline, Step
from gateway.pipelines.transcript import parse_transcript, squeezed
from policies.model import REQUESTED


class BadRunRequest(Exception):
    """The caller's mistake: a 400 that names `param`."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One run. `steps` None means all but the optional ones; `model` serves steps that name none themselves."""

    run_id: str
    pipeline: Pipeline
    transcript: str
    model: str
    steps: tuple[str, ...] | None = None
    model_hints: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float
    stream: bool = False

    def __post_init__(self) -> None:
        # Every way into a run passes here: a step that ran a pipeline could run itself.
        for param, model in (("model", self.model), *(("model_hints", each) for each in self.model_hints.values())):
            if model.startswith(PIPELINE_MODEL_PREFIX):
                raise BadRunRequest(f"{model}: a step cannot run a pipeline; name a model", param=param)
        if not squeezed(self.transcript):
            raise BadRunRequest("transcript: must hold text", param="transcript")
        if any("\ud800" <= character <= "\udfff" for character in self.transcript):
            raise BadRunRequest("transcript: must be valid Unicode, found half a surrogate pair", param="transcript")
        known = {step.name for step in self.pipeline.steps}
        for param, names in (("steps", self.steps or ()), ("model_hints", tuple(self.model_hints))):
            if unknown := set(names) - known:
                raise BadRunRequest(f"{min(unknown)!r} is no step; there are {', '.join(sorted(known))}", param=param)
        if self.steps == ():
            raise BadRunRequest("steps: must name a step, or be left out", param="steps")

    def model_of(self, step: Step) -> str:
        """Return the requested model of a step: the caller's hint, the file's model, or the run's."""
        own = self.model if step.model == REQUESTED else step.model
        return self.model_hints.get(step.name, own)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    transcript: str
    steps: list[str] | None = None
    model: str | None = None
    model_hints: dict[str, str] = {}
    stream: bool = False


def read_run(
    document: Mapping[str, object], pipeline: Pipeline, *, run_id: str, default_model: str, deadline_s: float | None
) -> RunRequest:
    """Read the body of POST /v1/pipelines/{name}. `deadline_s` (seconds) is capped by the pipeline's own.

    Raises BadRunRequest.
    """
    try:
        body = _Body.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = str(first["loc"][0]) if first["loc"] else "body"
        raise BadRunRequest(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", param=param) from error
    return RunRequest(
        run_id=run_id,
        pipeline=pipeline,
        transcript=body.transcript,
        model=body.model or default_model,
        steps=tuple(dict.fromkeys(body.steps)) if body.steps is not None else None,
        model_hints=body.model_hints,
        deadline_s=min(deadline_s or pipeline.deadline_s, pipeline.deadline_s),
        stream=body.stream,
    )


def read_chat_run(
    document: Mapping[str, object], pipeline: Pipeline, *, run_id: str, default_model: str, deadline_s: float | None
) -> RunRequest:
    """Read a chat request for model `pipeline/<name>`; the transcript is `transcript_of`'s. Raises BadRunRequest."""
    messages = document.get("messages")
    return RunRequest(
        run_id=run_id,
        pipeline=pipeline,
        transcript=transcript_of(messages if isinstance(messages, list) else ()),
        model=default_model,
        deadline_s=min(deadline_s or pipeline.deadline_s, pipeline.deadline_s),
        stream=document.get("stream") is True,
    )


def transcript_of(messages: Sequence[object]) -> str:
    """Return the transcript in a chat: the newest user text when it holds turns, else all users' texts as turns.

    A bot sends either one message with the whole transcript, or the channel as one message per speaker (`name` is the
    speaker then). System, tool and assistant messages are no part of the debate. Raises BadRunRequest.
    """
    said = [(name, text) for name, text in map(_user_text, messages) if text.strip()]
    if not said:
        raise BadRunRequest("messages: a user message must hold the transcript", param="messages")
    newest = said[-1][1]
    if len(said) == 1 or sum(1 for turn in parse_transcript(newest).turns if turn.speaker) > 1:
        return newest
    return "\n".join(f"{name}: {text}" if name else text for name, text in said)


def _user_text(message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping) or message.get("role") != "user":
        return "", ""
    content, name = message.get("content"), message.get("name")
    parts: Sequence[object] = content if isinstance(content, list) else ({"type": "text", "text": content},)
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(text, str) and content is not None:
            raise BadRunRequest("messages: a pipeline reads text only", param="messages")
        texts.append(text if isinstance(text, str) else "")
    return name if isinstance(name, str) else "", "\n".join(texts)


def answer_form(document: Mapping[str, object]) -> Literal["markdown", "json"]:
    """Return how a chat caller wants the result. Raises BadRunRequest for a schema of the caller's own."""
    wanted = document.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else "text"
    if kind == "json_schema":
        raise BadRunRequest(
            "response_format: a pipeline's result has its own shape; ask for json_object or text",
            param="response_format",
        )
    return "json" if kind == "json_object" else "markdown"
