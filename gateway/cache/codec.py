"""Complete answers as bytes: how they are stored, and how a streamed one becomes whole and the other way round.

Knows nothing of stores, keys or HTTP. Formats: OpenAI's chat.completion and chat.completion.chunk objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import orjson

from gateway.outcome import WarmedBy
from router.types import Usage

Form = Literal["json", "sse"]
DONE = b"data: [DONE]\n\n"


class StoredAnswer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One complete good answer with its origin. `payload` is a JSON body or server-sent events, as first received.

    `usage_event` is the provider's own usage event, kept apart because only some callers ask for it.
    `created_at` in Unix seconds; age is absolute, a hit does not renew it. For `stale_s` beyond `ttl_s` it may
    stand in where no provider answers. `tenant`, `route`, `epoch`, `tags` and `transcript` (the
    SHA-256 of an attached text) are what it can be found by when it has to go. `warmed_by` names the predictor that had
    it made, "" where a caller did.
    """

    form: Form
    payload: bytes
    usage_event: bytes | None
    usage: Usage
    finish_reasons: tuple[str, ...]
    routed_model: str
    response_model: str
    provider: str
    is_simulated: bool
    cost_nanousd: int | None
    created_at: float
    ttl_s: float
    writer: str
    policy_version: str
    stale_s: float = 0.0
    tenant: str = ""
    route: str = ""
    epoch: int = 0
    tags: tuple[str, ...] = ()
    transcript: str = ""
    warmed_by: WarmedBy = ""

    @property
    def size_bytes(self) -> int:
        """Bytes this answer takes in memory, near enough for a bound."""
        return len(self.payload) + len(self.usage_event or b"") + 512

    @property
    def answered_by(self) -> tuple[str, str, str, bool, tuple[str, ...]]:
        """Return (routed model, provider, response model, whether simulated, finish reasons)."""
        return self.routed_model, self.provider, self.response_model, self.is_simulated, self.finish_reasons


_decoder = msgspec.msgpack.Decoder(StoredAnswer)
_encoder = msgspec.msgpack.Encoder()


def encode(answer: StoredAnswer) -> bytes:
    """Return the stored form."""
    return _encoder.encode(answer)


def decode(raw: bytes) -> StoredAnswer | None:
    """Return the answer, or None for bytes that are none (another version's, or damaged): a miss, never an error."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError:
        return None


def body_of(answer: StoredAnswer) -> bytes:
    """Return the answer as one JSON body, whichever way it was first made."""
    if answer.form == "json":
        return answer.payload
    return assemble(answer.payload + (answer.usage_event or b""), usage=answer.usage)


def events_of(answer: StoredAnswer, *, include_usage: bool) -> tuple[bytes, ...]:
    """Return the answer as server-sent events without `[DONE]`; the usage event only where it is asked for."""
    if answer.form == "json":
        content, usage = disassemble(answer.payload)
    else:
        content, usage = answer.payload, answer.usage_event or usage_event(answer.payload, answer.usage)
    return (content, usage) if include_usage and usage else (content,)


def assemble(events: bytes, *, usage: Usage) -> bytes:
    """Fold the chunks of one stream into a chat.completion body; `usage` is reported where the stream holds none."""
    chunks = tuple(_objects(events))
    body: dict[str, object] = {}
    choices: dict[int, dict[str, object]] = {}
    for chunk in chunks:
        body.update({name: value for name, value in chunk.items() if name != "choices" and value is not None})
        for choice in _dicts(chunk.get("choices")):
            index = choice.get("index", 0)
            _fold_choice(choices.setdefault(index if isinstance(index, int) else 0, {}), choice)
    body["object"] = "chat.completion"
    body["choices"] = [
        {"index": index, "message": _message(choice), **{k: v for k, v in choice.items() if k != "delta"}}
        for index, choice in sorted(choices.items())
    ]
    body.setdefault("usage", usage_object(usage))
    return orjson.dumps(body)


def disassemble(body: bytes) -> tuple[bytes, bytes | None]:
    """Return a chat.completion body as (content events, usage event or None): the whole message, then its finish."""
    document = orjson.loads(body)
    head = {k: v for k, v in document.items() if k not in ("choices", "usage", "object")}
    head["object"] = "chat.completion.chunk"
    choices = _dicts(document.get("choices"))
    content = b"".join(event({**head, "choices": [part]}) for choice in choices for part in _choice_parts(choice))
    usage = document.get("usage")
    return content, event({**head, "choices": [], "usage": usage}) if usage else None


def usage_event(events: bytes, usage: Usage) -> bytes | None:
    """Return a usage event shaped like the chunks of `events`, for streams whose provider sent none of its own."""
    first = next(_objects(events), None)
    if first is None:
        return None
    head = {k: v for k, v in first.items() if k not in ("choices", "usage")}
    return event({**head, "choices": [], "usage": usage_object(usage)})


def usage_object(usage: Usage) -> dict[str, object]:
    """Return OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def event(value: Mapping[str, object]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _objects(events: bytes) -> Iterator[dict[str, object]]:
    for line in events.splitlines():
        if line.startswith(b"data:"):
            try:
                value = orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                continue
            if isinstance(value, dict):
                yield value


def _dicts(value: object) -> Sequence[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else ()


def _fold_choice(into: dict[str, object], choice: Mapping[str, object]) -> None:
    for name, value in choice.items():
        if name == "delta" and isinstance(value, dict):
            held = into.setdefault("delta", {})
            assert isinstance(held, dict)
            _fold_delta(held, value)
        elif name == "logprobs" and isinstance(value, dict):
            held = into.setdefault("logprobs", {})
            if isinstance(held, dict):
                _fold_delta(held, value)
            else:
                into["logprobs"] = dict(value)
        elif name != "index" and (value is not None or name not in into):
            into[name] = value


def _fold_delta(into: dict[str, object], delta: Mapping[str, object]) -> None:
    for name, value in delta.items():
        held = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif name == "role":
            into[name] = value
        elif name == "tool_calls" and isinstance(value, list):
            calls = into.setdefault(name, [])
            if isinstance(calls, list):
                _fold_tool_calls(calls, value)
        elif isinstance(value, str) and isinstance(held, str):
            into[name] = held + value
        elif isinstance(value, list) and isinstance(held, list):
            into[name] = [*held, *value]
        elif isinstance(value, dict) and isinstance(held, dict):
            _fold_delta(held, value)
        else:
            into[name] = dict(value) if isinstance(value, dict) else value


def _fold_tool_calls(calls: list[dict[str, object]], parts: Sequence[object]) -> None:
    for part in parts:
        if not isinstance(part, dict):
            continue
        index = part.get("index", len(calls))
        call = next((c for c in calls if c.get("index") == index), None)
        if call is None:
            call = {"index": index}
            calls.append(call)
        for name, value in part.items():
            if name == "function" and isinstance(value, dict):
                function = call.setdefault("function", {})
                if isinstance(function, dict):
                    _fold_delta(function, value)
            elif value is not None:
                # Providers repeat id and type in every part; they name the call and do not grow.
                call[name] = value


def _message(choice: Mapping[str, object]) -> dict[str, object]:
    delta = choice.get("delta")
    message: dict[str, object] = {"role": "assistant", "content": None, **(delta if isinstance(delta, dict) else {})}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        ordered = sorted(calls, key=lambda call: call["index"])
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in ordered]
    return message


def _choice_parts(choice: Mapping[str, object]) -> Iterator[dict[str, object]]:
    message = choice.get("message")
    delta = dict(message) if isinstance(message, dict) else {}
    if calls := _dicts(delta.get("tool_calls")):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    rest = {k: v for k, v in choice.items() if k not in ("message", "finish_reason")}
    yield {**rest, "delta": delta, "finish_reason": None}
    yield {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason")}
