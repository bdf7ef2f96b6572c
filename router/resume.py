"""Goes on with a stream that broke: what to ask of whom, and how their events join those already sent.

Must not call anybody or choose a deployment. Two ways: `restart` asks the same again and skips what equals the text
already sent; `prefill` asks a model to continue an assistant message. The client sees one stream: every event keeps the
id and `created` of the first one, since SDKs put a stream together by its id; `model` is the finisher's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
import orjson

from policies.model import Plan
from router.lenient import decode_lenient
from router.sse import THOUGHTS
from router.types import ChatRequest, Deployment, Usage

Way = Literal["restart", "prefill"]

# Providers that want to be told that the last message is to be continued.
_WANT_PREFIX = frozenset({"deepseek", "mistral"})
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Diverged(Exception):
    """A restarted answer says something else than what the client already has."""


def ways_of(request: ChatRequest, deployment: Deployment, sent: str) -> tuple[Way, ...]:
    """Return the ways to go on at `deployment`, the likelier one first.

    A restart repeats itself only where nothing is left to chance; where it is, a model that takes a prefill is asked to
    continue before anything else. A prefill of nothing is a restart, and tools or a JSON format leave no room for one.
    """
    is_free = not {"tools", "functions", "response_format"} & request.document.keys()
    if not (deployment.takes_prefill and is_free and sent.strip()):
        return ("restart",)
    return ("restart", "prefill") if request.document.get("temperature") == 0 else ("prefill", "restart")


def with_prefill(request: ChatRequest, deployment: Deployment, sent: str) -> ChatRequest:
    """Return the request with what was already said as its last message, for the model to continue.

    Without white space at its end, which Anthropic refuses.
    """
    message: dict[str, object] = {"role": "assistant", "content": sent.rstrip()}
    if deployment.provider in _WANT_PREFIX:
        message["prefix"] = True
    fields = _FIELDS.decode(request.body)
    stated = request.document.get("messages")
    messages = [*stated, message] if isinstance(stated, list) else [message]
    fields["messages"] = msgspec.Raw(orjson.dumps(messages))
    return msgspec.structs.replace(
        request, body=msgspec.json.encode(fields), document={**request.document, "messages": messages}
    )


def cap_left(request: ChatRequest, plan: Plan, said_tokens: int) -> int | None:
    """Return what is left of the output limit after `said_tokens`, at least 1; None without a limit."""
    stated = [request.document.get(name) for name in ("max_completion_tokens", "max_tokens")]
    caps = [cap for cap in (plan.max_output_tokens, *stated) if isinstance(cap, int) and cap > 0]
    return max(1, min(caps) - said_tokens) if caps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all events of one stream share."""

    id: object
    created: object


def frame_of(events: bytes) -> Frame:
    """Read the frame of the first of `events`."""
    said = _document(events.partition(b"\n\n")[0])
    return Frame(id=said.get("id"), created=said.get("created"))


class Continuation:
    """Turns the events of another leg into the continuation of what was sent.

    Of a restart, what equals the text already sent is left out, and so are its thoughts until there; of a prefill only
    the white space that was cut off, where the model repeats it.
    """

    def __init__(self, way: Way, sent: str, frame: Frame, *, keep_text_bytes: int) -> None:
        self.way: Way = way
        self._frame = frame
        self._is_strict = way == "restart"
        self._to_skip = sent if self._is_strict else sent[len(sent.rstrip()) :]
        self._sent: list[str] | None = [sent]
        self._text_left = keep_text_bytes - len(sent)

    @property
    def sent(self) -> str | None:
        """All text that the client has once it has what `feed` returned; None where that is too much to keep."""
        return None if self._sent is None else "".join(self._sent)

    @property
    def has_caught_up(self) -> bool:
        """Whether everything already sent has been said again."""
        return not self._to_skip or not self._is_strict

    def feed(self, events: bytes) -> bytes:
        """Return what of `events` is new to the client, b"" for nothing. Raises Diverged before any of it is."""
        documents = [self._joined(_document(event)) for event in events.split(b"\n\n") if event]
        return b"".join([b"data: " + orjson.dumps(document) + b"\n\n" for document in documents if document])

    def usage_event(self, event: bytes | None, usage: Usage) -> bytes | None:
        """Return the finisher's usage event with the sums of all legs."""
        if event is None:
            return None
        stated = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }
        return b"data: " + orjson.dumps({**self._framed(_document(event)), "usage": stated}) + b"\n\n"

    def _joined(self, document: Mapping[str, object]) -> dict[str, object] | None:
        choices = document.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, dict):
            return None
        delta = first.get("delta")
        delta = {name: value for name, value in delta.items() if name != "role"} if isinstance(delta, dict) else {}
        content = delta.get("content")
        text = content if isinstance(content, str) else ""
        is_over = first.get("finish_reason") is not None
        rest = self._skip(text, is_over=is_over)
        if self._is_strict and not rest:
            delta = {name: value for name, value in delta.items() if name not in THOUGHTS}
            if self._to_skip and _says_more(delta):  # a tool call where there was text
                raise Diverged
        if not rest and not is_over and not _says_more(delta):
            return None
        self._keep(rest)
        if text:
            delta["content"] = rest
        if rest != text and "logprobs" in first:
            first = {**first, "logprobs": None}
        return {**self._framed(document), "choices": [{**first, "delta": delta}]}

    def _keep(self, text: str) -> None:
        self._text_left -= len(text)
        if self._text_left < 0:
            self._sent = None
        if self._sent is not None:
            self._sent.append(text)

    def _skip(self, text: str, *, is_over: bool) -> str:
        """Return what of `text` comes after what is to be skipped."""
        to_skip = self._to_skip
        if to_skip:
            common = min(len(text), len(to_skip))
            if text[:common] == to_skip[:common]:
                self._to_skip = to_skip[common:]
                text = text[common:]
            elif self._is_strict:
                raise Diverged
            else:
                self._to_skip = ""
        if is_over and self._to_skip and self._is_strict:
            raise Diverged
        return text

    def _framed(self, document: Mapping[str, object]) -> dict[str, object]:
        kept = {"id": self._frame.id, "created": self._frame.created}
        return {**document, **{name: value for name, value in kept.items() if value is not None}}


def _says_more(delta: Mapping[str, object]) -> bool:
    return any(value for name, value in delta.items() if name != "content")


def _document(event: bytes) -> Mapping[str, object]:
    try:
        document = decode_lenient(event.removeprefix(b"data: "))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
