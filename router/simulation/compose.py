"""What a simulated model says to a request; a pure function of the request, without time or transport."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from router.simulation import asked, debate
from router.simulation.instance import smallest
from router.types import Call

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]
_QUOTED_CHARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One choice: text, or a call of `function` with `arguments` (JSON)."""

    text: str
    finish_reason: FinishReason
    function: str | None = None
    arguments: str = ""

    @property
    def output_tokens(self) -> int:
        """Estimated tokens of what is said."""
        return asked.tokens_in(self.text + self.arguments + (self.function or ""))


def compose(call: Call) -> Said:
    """Return the answer to a chat request: a forced tool call, a structured output, or an honest text."""
    document = call.request.document
    said = _forced_call(document) or Said(text=_text(call), finish_reason="stop")
    limit = asked.output_limit(call)
    if limit is None or said.output_tokens <= limit:
        return said
    cut = said.text.encode("utf-8", "replace")[: limit * 4].decode("utf-8", "ignore")
    return replace(said, text=cut, arguments=said.arguments[: limit * 4], finish_reason="length")


def input_tokens(document: Mapping[str, object]) -> int:
    """Estimate the tokens of all messages, tools and schemas of a request."""
    text = sum(asked.tokens_in(text) for _, text in asked.messages(document))
    extra = [document[key] for key in ("tools", "functions", "response_format") if key in document]
    return text + sum(asked.tokens_in(orjson.dumps(item).decode()) for item in extra)


def _forced_call(document: Mapping[str, object]) -> Said | None:
    choice, legacy = document.get("tool_choice"), document.get("function_call")
    tools = [asked.mapping(asked.mapping(tool).get("function")) for tool in asked.sequence(document.get("tools"))]
    wanted = asked.mapping(asked.mapping(choice).get("function")).get("name")
    reason: FinishReason = "tool_calls"
    if name := asked.mapping(legacy).get("name"):
        tools = [asked.mapping(item) for item in asked.sequence(document.get("functions"))]
        wanted, reason = name, "function_call"
    elif choice != "required" and wanted is None:
        return None
    for tool in tools:
        named = tool.get("name")
        if isinstance(named, str) and wanted in (None, named):
            arguments = orjson.dumps(smallest(tool.get("parameters", {"type": "object"}))).decode()
            return Said(text="", finish_reason=reason, function=named, arguments=arguments)
    return None


def _text(call: Call) -> str:
    document = call.request.document
    if wanted := asked.wanted_schema(document):
        return orjson.dumps(_structured(document, *wanted)).decode()
    if asked.mapping(document.get("response_format")).get("type") == "json_object":
        return orjson.dumps({"simulated": True, "text": _plain(call)}).decode()
    return _plain(call)


def _structured(document: Mapping[str, object], name: str, schema: Mapping[str, object]) -> object:
    transcript = asked.transcript(document)
    drawn = debate.answer(name, transcript) if transcript is not None else None
    # A step whose schema somebody has extended gets the general answer: a member of ours would be missing.
    needed = set(map(str, asked.sequence(schema.get("required"))))
    return drawn if drawn is not None and needed <= drawn.keys() else smallest(schema)


def _plain(call: Call) -> str:
    text = asked.last_user_text(call.request.document)
    words = len(text.split())
    mark = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    opening = " ".join(text.split())[:_QUOTED_CHARS]
    count = sum(1 for _ in asked.messages(call.request.document))
    return (
        f"[simulated] No language model read this; {call.deployment.model} would be asked here once its provider's key "
        f"is set. The request has {count} message(s); the last one from the user has {words} word(s) "
        f"(fingerprint {mark}) and begins: “{opening}”"
    )
