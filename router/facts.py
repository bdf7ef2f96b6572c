"""Client bytes in, a ChatRequest and its RequestFacts out: the one decode of a request.

Rejects what no provider could answer; everything it does not know passes through untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
import orjson

from policies.model import Capability, Dialect, RequestFacts
from router.types import ChatRequest
from router.usage import BYTES_PER_TOKEN

IMAGE_TOKENS = 765
"""Estimate for one image part: OpenAI's published cost of a 1024 x 1024 image in high detail."""
EXACT_INT_LIMIT = 2**63
_COUNTED_BYTES = 4096
_SCHEMAS = ("tools", "functions", "response_format")
"""What a request holds beside its messages that a provider counts as input."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Parts = list[dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """How large and how deep a request may be. `max_messages` also bounds the inputs of an embeddings request."""

    max_nesting_depth: int = 64
    max_messages: int = 2000


class BadRequest(Exception):
    """The request itself is wrong. `param` names the field as a path (`messages[0].role`), None for the body."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


class _Message(msgspec.Struct):
    role: _Name
    content: str | _Parts | None = None
    name: str | None = None
    tool_calls: list[dict[str, object]] | None = None
    tool_call_id: str | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Chat(msgspec.Struct):
    model: _Name
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    user: str | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | dict[str, object] | None = None
    functions: list[dict[str, object]] | None = None
    response_format: dict[str, object] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class _Embeddings(msgspec.Struct):
    model: _Name
    input: str | list[object]
    encoding_format: str | None = None
    dimensions: _Count | None = None
    user: str | None = None


def read_request(body: bytes, *, dialect: Dialect, limits: DoorLimits) -> ChatRequest:
    """Decode and check a request body. Raises BadRequest naming the field and what would be right."""
    document = read_object(body, limits=limits)
    stream, include_usage = _check_types(document, dialect)
    _check_counts(document, dialect, limits.max_messages)
    model = document["model"]
    assert isinstance(model, str)
    return ChatRequest(
        dialect=dialect,
        body=body,
        document=document,
        requested_model=model,
        stream=stream,
        include_usage=include_usage,
    )


def read_object(body: bytes, *, limits: DoorLimits) -> dict[str, object]:
    """Decode a body into a JSON object of bounded depth. Raises BadRequest."""
    document = _decode(body)
    _check_depth(body, document, limits.max_nesting_depth)
    return document


def facts_of(
    request: ChatRequest, *, tenant: str, session: str, tags: frozenset[str], allowed_models: frozenset[str] | None
) -> RequestFacts:
    """Derive what a policy may know: sizes and needs, never text."""
    document = request.document
    limit = document.get("max_completion_tokens") or document.get("max_tokens")
    user = document.get("user")
    contents = _contents(document)
    parts = _parts(contents)
    return RequestFacts(
        dialect=request.dialect,
        requested_model=request.requested_model,
        tenant=tenant,
        session=session or (user if isinstance(user, str) else ""),
        tags=tags,
        input_tokens=_input_tokens(document, contents, parts),
        max_output_tokens=limit if isinstance(limit, int) else None,
        needs=_needs(document, parts),
        allowed_models=allowed_models,
    )


def _decode(body: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        where = "empty body" if not body else f"line {exc.lineno} column {exc.colno}"
        raise BadRequest(f"the body is not valid JSON ({where}); send one UTF-8 JSON object") from None
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    return document


def _check_depth(body: bytes, document: object, limit: int) -> None:
    # Opening brackets bound the depth from above, so that small bodies pay two byte counts and no walk. Of large ones
    # most is text: counting costs 1 µs a KiB, and the few containers are looked at sooner.
    if len(body) <= _COUNTED_BYTES and body.count(b"{") + body.count(b"[") <= limit:
        return
    level: list[object] = [document]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise BadRequest(f"the body is nested deeper than {limit} levels")


def _children(node: object) -> Iterator[object]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return (value for value in values if isinstance(value, (dict, list)))


def _check_types(document: dict[str, object], dialect: Dialect) -> tuple[bool, bool]:
    try:
        if dialect == "embeddings":
            msgspec.convert(document, _Embeddings)
            return False, False
        view = msgspec.convert(document, _Chat)
    except msgspec.ValidationError as exc:
        reason, _, path = str(exc).partition(" - at `$")
        param = path.rstrip("`").lstrip(".") or None
        named = f"{param}: {reason}" if param else reason
        raise BadRequest(named[0].lower() + named[1:] if not param else named, param=param) from None
    options = view.stream_options
    return bool(view.stream), bool(options and options.include_usage)


def _check_counts(document: dict[str, object], dialect: Dialect, limit: int) -> None:
    name = "messages" if dialect == "chat" else "input"
    items = document[name]
    if not items:
        raise BadRequest(f"{name}: must not be empty", param=name)
    if isinstance(items, list) and len(items) > limit and not isinstance(items[0], int):
        raise BadRequest(f"{name}: has {len(items)} items, the most allowed is {limit}", param=name)
    if dialect == "embeddings" and isinstance(items, list):
        _check_inputs(items)
    for key, value in document.items():
        if isinstance(value, (int, float)) and abs(value) >= EXACT_INT_LIMIT:
            raise BadRequest(f"{key}: the number is too large", param=key)


def _check_inputs(items: list[object]) -> None:
    kinds = {type(item) for item in items}
    is_tokens = kinds == {list} and all(isinstance(t, int) for item in items if isinstance(item, list) for t in item)
    if kinds not in ({str}, {int}) and not is_tokens:
        raise BadRequest("input: expected strings, token ids or lists of token ids, not a mixture", param="input")


def _contents(document: Mapping[str, object]) -> list[object]:
    """Return the messages' contents; a field of that name in an embeddings request was never checked."""
    messages = document.get("messages")
    return [m.get("content") for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def _parts(contents: list[object]) -> list[dict[str, object]]:
    return [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]


def _text_bytes(texts: list[object]) -> int:
    """Return the UTF-8 bytes of those that are text."""
    return sum([len(t) if t.isascii() else len(t.encode()) for t in texts if isinstance(t, str)])


def _input_tokens(document: Mapping[str, object], contents: list[object], parts: list[dict[str, object]]) -> int:
    size, images, ids = _text_bytes(contents), 0, 0
    if parts:
        size += _text_bytes([part.get("text") for part in parts])
        images = sum([part.get("type") == "image_url" for part in parts])
    for name in _SCHEMAS:
        if value := document.get(name):
            size += len(orjson.dumps(value))
    given = document.get("input")
    if given is not None:
        size += _text_bytes(given if isinstance(given, list) else [given])
        if isinstance(given, list) and given and not isinstance(given[0], str):
            ids = sum(len(item) if isinstance(item, list) else 1 for item in given)
    return (size + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN + images * IMAGE_TOKENS + ids


def _needs(document: Mapping[str, object], parts: list[dict[str, object]]) -> frozenset[Capability]:
    needs: set[Capability] = set()
    if document.get("tools") or document.get("functions"):
        needs.add("tools")
    response_format = document.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        needs.add("json_schema")
    if document.get("logprobs"):
        needs.add("logprobs")
    for part in parts:
        if part.get("type") == "image_url":
            needs.add("vision")
        elif part.get("type") == "input_audio":
            needs.add("audio")
    return frozenset(needs)
