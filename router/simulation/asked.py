"""Reads what a simulated answer needs from a request's decoded body; never changes it, never fails on odd shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from router.types import Call

# The fence that gateway/pipelines/prompt.py puts around a transcript; the id is the same at both ends.
_TRANSCRIPT = re.compile(r"<transcript id=([0-9a-f]+)>\n(.*)\n</transcript id=\1>", re.DOTALL)


def mapping(value: object) -> Mapping[str, object]:
    """Return `value` when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[object]:
    """Return `value` when it is a list or tuple, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def text_of(content: object) -> str:
    """Return a message's text: the string itself, or its text parts joined by a line break."""
    if isinstance(content, str):
        return content
    parts = (mapping(part).get("text") for part in sequence(content))
    return "\n".join(part for part in parts if isinstance(part, str))


def messages(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield (role, text) of every message that is shaped like one."""
    for item in sequence(document.get("messages")):
        message = mapping(item)
        role = message.get("role")
        if isinstance(role, str):
            yield role, text_of(message.get("content"))


def last_user_text(document: Mapping[str, object]) -> str:
    """Return the text of the newest user message, or an empty string."""
    return next((text for role, text in reversed(list(messages(document))) if role == "user"), "")


def transcript(document: Mapping[str, object]) -> str | None:
    """Return the fenced transcript of a pipeline step, None where there is none."""
    for role, text in messages(document):
        found = _TRANSCRIPT.search(text) if role == "user" else None
        if found:
            return found.group(2)
    return None


def wanted_schema(document: Mapping[str, object]) -> tuple[str, Mapping[str, object]] | None:
    """Return (name, JSON Schema) of a `response_format` of type json_schema, else None."""
    wanted = mapping(document.get("response_format"))
    if wanted.get("type") != "json_schema":
        return None
    named = mapping(wanted.get("json_schema"))
    name = named.get("name")
    return (name if isinstance(name, str) else ""), mapping(named.get("schema"))


def served_tier(call: Call) -> str:
    """Return the service tier of the answer, "" for the standard one: what was asked for, where the model has it."""
    own = call.request.document.get("service_tier")
    wanted = call.service_tier if own in (None, "auto") else own
    price = call.deployment.price
    return wanted if isinstance(wanted, str) and price is not None and wanted in price.tiers else ""


def output_limit(call: Call) -> int | None:
    """Return the smallest of the plan's and the client's limits on output tokens; None where nobody set one.

    0 asks for nothing but that the prompt be read.
    """
    document = call.request.document
    limits = [call.max_output_tokens, document.get("max_completion_tokens"), document.get("max_tokens")]
    numbers = [limit for limit in limits if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0]
    return min(numbers, default=None)


def tokens_in(text: str) -> int:
    """Estimate tokens as UTF-8 bytes / 4, rounded up: a vocabulary would have to be downloaded."""
    return -(-len(text.encode("utf-8", "replace")) // 4)
