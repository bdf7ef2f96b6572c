"""Reads tokens, finish reasons, the model and errors from answers. Must not change an answer or hold its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from policies.model import Dialect
from router.errors import ProviderError
from router.lenient import decode_lenient
from router.provider_errors import error_of_document
from router.types import ChatRequest, Usage

BYTES_PER_TOKEN = 4
_TAIL_BYTES = 4_096
_SMALL_BYTES = 65_536
_STANDARD = frozenset({"", "default", "standard", "auto"})


class AnswerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is read from an unstreamed answer. `usage` is None where the provider did not say."""

    usage: Usage | None
    finish_reasons: tuple[str, ...]
    response_model: str | None
    error: ProviderError | None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: dict[str, object] | None = None
    error: object = None
    service_tier: str | None = None


_Tokens = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _ReadTokens(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: _Tokens = 0
    cache_creation_tokens: _Tokens = 0
    cache_write_tokens: _Tokens = 0


class _MadeTokens(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: _Tokens = 0


class _PlainUsage(msgspec.Struct, gc=False):
    """A usage object that counts in whole numbers, as nearly all do; what it does not know is not read."""

    prompt_tokens: _Tokens
    completion_tokens: _Tokens
    total_tokens: _Tokens = 0
    prompt_tokens_details: _ReadTokens = _ReadTokens()
    completion_tokens_details: _MadeTokens = _MadeTokens()
    prompt_cache_hit_tokens: _Tokens = 0
    cache_creation_input_tokens: _Tokens = 0


class _PlainAnswer(msgspec.Struct, gc=False):
    """A chat answer as nearly all are; what does not fit is read by `_Answer`."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _PlainUsage
    model: str | None = None
    error: None = None
    service_tier: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_PLAIN_ANSWER = msgspec.json.Decoder(_PlainAnswer)


def read_answer(body: bytes, dialect: Dialect) -> AnswerFacts:
    """Read a complete answer body. Raises ProviderError (malformed) for what is no answer.

    Skipping what is not read costs 0.3 µs per KiB; of large embeddings, which would take milliseconds, only the tail
    is read when it says enough.
    """
    if dialect == "chat" and (plain := _plain(body)) is not None:
        return plain
    answer = _tail(body) if dialect == "embeddings" and len(body) > _SMALL_BYTES else None
    answer = answer or _decode(body)
    if answer.error:
        error = error_of_document(decode_lenient(body))
        return AnswerFacts(usage=None, finish_reasons=(), response_model=answer.model, error=error)
    if dialect == "chat" and not answer.choices:
        raise ProviderError("the provider's answer has no choices", kind="malformed", source="gateway")
    return AnswerFacts(
        usage=at_tier(usage_of(answer.usage), answer.service_tier) if answer.usage else None,
        finish_reasons=tuple([choice.finish_reason or "" for choice in answer.choices or ()]),
        response_model=answer.model,
        error=None,
    )


def at_tier(usage: Usage | None, tier: str | None) -> Usage | None:
    """Return `usage` with the service tier that the answer states; the standard one has no name."""
    if usage is None or tier is None or tier in _STANDARD:
        return usage
    return msgspec.structs.replace(usage, service_tier=tier)


def tail_usage(body: bytes, dialect: Dialect = "chat") -> Usage | None:
    """Return the usage that an unstreamed answer states. Raises ProviderError (malformed)."""
    return read_answer(body, dialect).usage


def usage_of(stated: Mapping[str, object]) -> Usage | None:
    """Return an OpenAI-shaped usage object as ours, None where it counts nothing; odd values count as 0.

    Knows `prompt_tokens_details`, `completion_tokens_details`, DeepSeek's `prompt_cache_hit_tokens` and the cache-write
    fields of LiteLLM and OpenRouter. Where the total exceeds the sum, the rest is reasoning that the provider left out
    of `completion_tokens` (xAI, Gemini's OpenAI-shaped endpoint): it is charged as output.
    """
    if "prompt_tokens" not in stated and "completion_tokens" not in stated and "total_tokens" not in stated:
        return None
    read = _details(stated, "prompt_tokens_details")
    made = _details(stated, "completion_tokens_details")
    return _usage(
        read=_count(stated, "prompt_tokens"),
        made=_count(stated, "completion_tokens"),
        total=_count(stated, "total_tokens"),
        cached=_count(read, "cached_tokens") or _count(stated, "prompt_cache_hit_tokens"),
        written=_count(read, "cache_creation_tokens")
        or _count(read, "cache_write_tokens")
        or _count(stated, "cache_creation_input_tokens"),
        thought=_count(made, "reasoning_tokens"),
    )


def _usage(*, read: int, made: int, total: int, cached: int, written: int, thought: int) -> Usage:
    output = max(made, total - read)
    cached = min(cached, read)
    return Usage(
        input_tokens=read,
        output_tokens=output,
        cached_tokens=cached,
        cache_write_tokens=min(written, read - cached),
        reasoning_tokens=min(thought or output - made, output),
    )


def _plain(body: bytes) -> AnswerFacts | None:
    """Read an answer in which everything is as it should be, in one typed decode; None for any other."""
    try:
        answer = _PLAIN_ANSWER.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    stated, details = answer.usage, answer.usage.prompt_tokens_details
    usage = _usage(
        read=stated.prompt_tokens,
        made=stated.completion_tokens,
        total=stated.total_tokens,
        cached=details.cached_tokens or stated.prompt_cache_hit_tokens,
        written=details.cache_creation_tokens or details.cache_write_tokens or stated.cache_creation_input_tokens,
        thought=stated.completion_tokens_details.reasoning_tokens,
    )
    return AnswerFacts(
        usage=at_tier(usage, answer.service_tier),
        finish_reasons=tuple([choice.finish_reason or "" for choice in answer.choices]),
        response_model=answer.model,
        error=None,
    )


def estimated_usage(request: ChatRequest, output_bytes: int) -> Usage:
    """Estimate from text at 4 bytes a token, for providers that do not say; `output_bytes` is the answer's text."""
    asked = request.document.get("messages") if request.dialect == "chat" else request.document.get("input")
    return Usage(
        input_tokens=-(-text_bytes(asked) // BYTES_PER_TOKEN),
        output_tokens=-(-output_bytes // BYTES_PER_TOKEN),
        is_estimated=True,
    )


def answer_text_bytes(body: bytes) -> int:
    """Return how much text an unstreamed chat answer holds; decodes it whole, so only for estimates."""
    answer = decode_lenient(body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    messages = [choice.get("message") for choice in choices if isinstance(choice, dict)] if choices else []
    return text_bytes(messages)


_TEXT_KEYS = (
    "content",
    "text",
    "reasoning_content",
    "reasoning",
    "refusal",
    "tool_calls",
    "function_call",
    "function",
    "arguments",
)


def text_bytes(value: object) -> int:
    """Return the UTF-8 bytes of the text in messages, parts and tool calls; not of images, audio or names."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list | tuple):
        return sum(map(text_bytes, value))
    if isinstance(value, dict):
        return sum(text_bytes(value[key]) for key in _TEXT_KEYS if key in value)
    return 0


def _decode(body: bytes) -> _Answer:
    try:
        return _ANSWER.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        pass  # an odd type somewhere, or JSON that only Python takes
    try:
        document = decode_lenient(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ProviderError("the provider's answer is no JSON object", kind="malformed", source="gateway")
    return _of_document(document)


def _of_document(document: Mapping[str, object]) -> _Answer:
    stated, model, usage = (document.get(name) for name in ("choices", "model", "usage"))
    choices = [choice for choice in stated if isinstance(choice, dict)] if isinstance(stated, list) else []
    reasons = [choice.get("finish_reason") for choice in choices]
    return _Answer(
        model=model if isinstance(model, str) else None,
        choices=[_Choice(finish_reason=reason if isinstance(reason, str) else None) for reason in reasons],
        usage=usage if isinstance(usage, dict) else None,
        error=document.get("error"),
    )


def _tail(body: bytes) -> _Answer | None:
    """Decode the answer's last members alone, as an object of their own; None unless that is right.

    An object cut open before a key decodes only if that key stood at the top level: deeper, braces would be left over,
    and inside a string the quotes would be escaped.
    """
    end = body[-_TAIL_BYTES:]
    usage = end.rfind(b'"usage"')
    if usage < 0:
        return None
    model = end.rfind(b'"model"', 0, usage)
    for start in (model, usage):
        if start >= 0:
            try:
                return _ANSWER.decode(b"{" + end[start:])
            except (msgspec.MsgspecError, RecursionError):
                continue
    return None


def _details(stated: Mapping[str, object], name: str) -> Mapping[str, object]:
    details = stated.get(name)
    return details if isinstance(details, dict) else {}


def _count(stated: Mapping[str, object], name: str) -> int:
    value = stated.get(name)
    if type(value) is int and 0 <= value < 2**53:
        return value
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return 0
    return int(value)
