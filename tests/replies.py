"""What the scripted provider of tests/provider.py has seen and can be told to answer, and the bytes of it. No I/O."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

Fault = Literal[
    "none",
    "reset",  # RST before any header
    "silent",  # accepts, reads, never answers
    "headers_only",  # headers, then nothing
    "cut",  # after `after_events` events the connection goes, no terminating chunk
    "clean_cut",  # after `after_events` events the stream ends as if all were well
    "stall",  # after `after_events` events nothing more comes
    "endless",  # content events for ever
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One scripted answer. `body` replaces the generated one; `words` become one event each when streamed.

    `malformed_at`, `error_at` put a broken or an error event before that content event; `piece_bytes` cuts what is
    written into pieces of that size, `drip_s` waits between pieces; `gate` holds the answer back before its headers
    and `gate_at` the events from that one on until the gate named `gate` opens; `delay_s` waits before the headers,
    `end_delay_s` between a stream's last event and the end of its body.
    """

    status: int = 200
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ("Hello", " there", ", bot", ".")
    tool_arguments: str | None = None
    finish_reason: str = "stop"
    usage: Mapping[str, object] | None = field(
        default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    )
    response_model: str | None = None
    fault: Fault = "none"
    after_events: int = 2
    malformed_at: int | None = None
    malformed_event: str = 'data: {"choices": [{"index": 0, "delta": {"con\n\n'
    error_at: int | None = None
    error_event: str = 'data: {"error": {"message": "upstream exploded", "type": "server_error", "code": 502}}\n\n'
    done: bool = True
    linger: bool = False
    usage_in_last: bool = False
    crlf: bool = False
    comments: bool = False
    huge_bytes: int = 0
    piece_bytes: int = 0
    drip_s: float = 0.0
    delay_s: float = 0.0
    end_delay_s: float = 0.0
    gate: str | None = None
    gate_at: int = 0
    whole: bool = False


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as it arrived. `hung_up` is set once the client closed before the answer was complete.

    `streamed_bytes` of events were written to it so far.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    connection: int
    streamed_bytes: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def json(self) -> dict[str, object]:
        """Decode the body, which must be a JSON object."""
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


def reply_of(document: Mapping[str, object]) -> Reply:
    """Build a Reply from JSON; an unknown field is an error."""
    known = {one.name for one in fields(Reply)}
    if unknown := set(document) - known:
        raise ValueError(f"Reply has no {sorted(unknown)}; it has {sorted(known)}")
    values = dict(document)
    if isinstance(words := values.get("words"), list):
        values["words"] = tuple(map(str, words))
    return Reply(**values)  # type: ignore[arg-type]


def body_of(reply: Reply, document: Mapping[str, object], path: str) -> bytes:
    """Return the body of an unstreamed answer, errors included."""
    if reply.body is not None:
        return reply.body.encode()
    if reply.status >= 300:
        error = {"message": f"scripted {reply.status}", "type": "scripted", "param": None, "code": None}
        return json.dumps({"error": error}).encode()
    model = reply.response_model or document.get("model")
    if path.endswith("/embeddings"):
        asked = document.get("input")
        count = len(asked) if isinstance(asked, list) else 1
        data = [{"object": "embedding", "index": index, "embedding": [0.25, -0.5]} for index in range(count)]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return json.dumps({"object": "list", "data": data, "model": model, "usage": usage}).encode()
    message: dict[str, object] = {"role": "assistant", "content": "".join(reply.words) + "x" * reply.huge_bytes}
    if reply.tool_arguments is not None:
        function = {"name": "look_up", "arguments": reply.tool_arguments}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    rest = {"message": message, "logprobs": _logprobs(document, reply.words), "finish_reason": reply.finish_reason}
    choices = [{"index": index, **rest} for index in range(_count(document))]
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": model}
    return json.dumps({**answer, "choices": choices, "usage": reply.usage}).encode()


def _count(document: Mapping[str, object]) -> int:
    count = document.get("n")
    return count if isinstance(count, int) else 1


def _logprobs(document: Mapping[str, object], words: tuple[str, ...]) -> object:
    if document.get("logprobs") is not True:
        return None
    return {"content": [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []} for word in words]}


def events_of(reply: Reply, document: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the wire bytes of every event in order, faults inside the text included."""
    for event in _plain_events(reply, document):
        yield event.replace("\n", "\r\n").encode() if reply.crlf else event.encode()


def _plain_events(reply: Reply, document: Mapping[str, object]) -> Iterator[str]:
    options = document.get("stream_options")
    wants_usage = isinstance(options, dict) and options.get("include_usage") is True and reply.usage is not None
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000}
    frame["model"] = reply.response_model or str(document.get("model"))

    def event(choices: list[object], **more: object) -> str:
        usage = {"usage": None} if wants_usage and "usage" not in more else {}
        return "data: " + json.dumps({**frame, "choices": choices, **usage, **more}) + "\n\n"

    def choice(index: int, delta: object, finish_reason: str | None = None, logprobs: object = None) -> object:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}

    indices = range(_count(document))
    for index in indices:
        yield event([choice(index, {"role": "assistant", "content": ""})])
    for number, delta in enumerate(_deltas(reply)):
        if reply.comments:
            yield ": OPENROUTER PROCESSING\n\n"
        if number == reply.malformed_at:
            yield reply.malformed_event
        if number == reply.error_at:
            yield reply.error_event
        for index in indices:
            yield event([choice(index, delta, logprobs=_logprobs(document, reply.words[number : number + 1]))])
    last = {"usage": reply.usage} if reply.usage_in_last else {}
    for index in indices:
        yield event([choice(index, {}, reply.finish_reason)], **last)
    if wants_usage and not reply.usage_in_last:
        yield event([], usage=reply.usage)
    if reply.done:
        yield "data: [DONE]\n\n"


def _deltas(reply: Reply) -> Iterator[dict[str, object]]:
    if reply.tool_arguments is not None:
        opening = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
        yield {"tool_calls": [opening]}
        for start in range(0, len(reply.tool_arguments), 4):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": reply.tool_arguments[start : start + 4]}}]}
        return
    for word in reply.words:
        yield {"content": word}
    while reply.fault == "endless":
        yield {"content": " more" + "x" * reply.huge_bytes}


def head_of(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and headers."""
    lines = [f"HTTP/1.1 {status} X", "Date: Sun, 06 Nov 1994 08:49:37 GMT"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def whole_of(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a complete unstreamed answer."""
    defaults = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return head_of(status, {**defaults, **headers}) + body
