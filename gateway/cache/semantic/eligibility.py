"""Who may enter the semantic tier: a request's free-text question, or the reason why it stays with the exact tier.

Whether the text fits the embedder's window is the embedder's to count; the similarity is the index's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from gateway.cache.key import normalised
from gateway.cache.semantic.attachment import Split, split_parts, split_text
from gateway.cache.semantic.guards.lexicon import FUNCTION
from gateway.cache.semantic.guards.words import words_of
from policies.model import CacheRules
from router.types import ChatRequest

Reason = Literal[
    "dialect",
    "no_question",
    "tools",
    "media",
    "several_answers",
    "logprobs",
    "temperature",
    "seed",
    "unsplit_attachment",
    "too_short",
    "code",
    "personal",
    "live",
]

MIN_CONTENT_WORDS: Final = 3
_LONGEST_QUESTION: Final = 2000
_AROUND: Final = 300

_CODE: Final = re.compile(
    r"```|~~~|</?[a-zA-Z][^<>]*>|[{};]\s*(?:\n|$)|\bdef \w+\(|\bfunction\s*\w*\(|=>|::|!=|==|\w+\(\w*\)|\w+\.\w+\("
    r"|^\s{4,}\S|\bSELECT\b.+\bFROM\b|#include\b|\bTraceback \(most|\b\w+Error:|\bstd::|&&|\|\|",
    re.MULTILINE,
)
_MINE: Final = re.compile(
    r"\b(?:my|our)\s+(?:\w+\s+)?(?:accounts?|balance|orders?|booking|reservation|subscription|invoice|bill|statement"
    r"|password|passcode|pin|login|username|e?mails?|inbox|address|phone number|profile|ticket|appointment|calendar"
    r"|schedule|meeting|transactions?|transfer|payments?|refund|top[- ]?up|card|parcel|package|delivery|shipment|claim"
    r"|policy|contract|application|salary|tax return|ip|location|name|birthday|chat|conversation|messages?|files?"
    r"|document|photo|data|usage|quota|score|progress|homework|essay)\b"
    r"|\b(?:did|do|what|remind) (?:you|me|i) (?:just )?(?:say|tell|remember|mean|said)\b|\bwho am i\b",
    re.IGNORECASE,
)
_LIVE: Final = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|newest|recent|recently|trending"
    r"|upcoming|(?:this|last|next) (?:week|month|year|night|morning|afternoon|evening|weekend|season)|at the moment"
    r"|so far|breaking|live (?:score|stream|update)s?|news|headlines?|weather|forecast|traffic (?:jam|on|in)"
    r"|stock (?:price|market)|prices?|how much (?:is|are|does|do)|(?:exchange|interest) rates?|score of|standings"
    r"|who is winning|what(?:'s| is) the (?:time|date)|what (?:time|day) is it|in stock|opening hours|open now)\b",
    re.IGNORECASE,
)

# The long alternations take up to 40 us on a plain question. Whatever they find holds one of these.
_CODE_MARKS: Final = frozenset("`~<{};(")
_CODE_WORDS: Final = ("=>", "::", "!=", "==", "SELECT", "#include", "Error:", "&&", "||", "    ")
_LIVE_WORDS: Final = frozenset(
    (
        *("today", "tonight", "tomorrow", "yesterday", "now", "nowadays", "currently", "current", "latest", "newest"),
        *("recent", "recently", "trending", "upcoming", "this", "last", "next", "moment", "far", "breaking", "live"),
        *("news", "headline", "headlines", "weather", "forecast", "traffic", "stock", "price", "prices", "much"),
        *("rate", "rates", "score", "standings", "winning", "time", "date", "day", "hours"),
    )
)
_MINE_WORDS: Final = frozenset(("my", "our", "say", "tell", "remember", "mean", "said", "who"))
_WORDS: Final = re.compile(r"\w+")


class EntryRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a route lets in. Answers sampled above `max_temperature` only with the caller's own opt-in (None: all).

    `cache` says which volatile parts (a mention before the question) are no part of the text.
    """

    max_temperature: float | None = 0.3
    min_content_words: int = MIN_CONTENT_WORDS
    cache: CacheRules = msgspec.field(default_factory=CacheRules)


class Question(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The text to embed, its words (guards.words_of), and what was attached to it ('' for nothing)."""

    text: str
    words: tuple[str, ...]
    attachment: str = ""


class Ineligible(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a request has no semantic tier; the exact tier is not concerned."""

    reason: Reason


def question_of(request: ChatRequest, rules: EntryRules, *, opted_in: bool = False) -> Question | Ineligible:
    """Return the last user message's question, or the first reason why the tier is off. Never raises."""
    document = request.document
    if request.dialect != "chat":
        return Ineligible(reason="dialect")
    refused = _refused_parameter(document, rules, opted_in=opted_in) or _refused_message(document)
    if refused is not None:
        return Ineligible(reason=refused)
    found = asked_text(document, rules.cache)
    if found is None:
        return Ineligible(reason="no_question")
    if len(found.question) > _LONGEST_QUESTION:
        return Ineligible(reason="unsplit_attachment")
    return _judged(found, rules)


def changes_by_itself(request: ChatRequest, rules: CacheRules) -> bool:
    """Say whether another time, or another caller, would want another answer: tools, live or personal wording."""
    document = request.document
    if document.get("tools") or document.get("functions") or _has_tool_results(document):
        return True
    found = asked_text(document, rules) if request.dialect == "chat" else None
    if found is None:
        return False
    text = found.question
    if len(text) > _LONGEST_QUESTION:  # what is asked about a long text stands before or behind it
        text = f"{text[:_AROUND]} {text[-_AROUND:]}"
    words = _plain_words(text)
    is_live = _may_be_live(words) and _LIVE.search(text)
    return bool(is_live or (_may_be_personal(text, words) and _MINE.search(text)))


def asked_text(document: Mapping[str, object], rules: CacheRules) -> Split | None:
    """Return the last message's text split into attachment and question, None where it is no user's text."""
    last = _messages(document)[-1:]
    if not last or last[0].get("role") != "user":
        return None
    content = normalised(last[0], rules).get("content")
    if isinstance(content, str):
        return split_text(content) if content.strip() else None
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return split_parts([text for text in texts if isinstance(text, str) and text.strip()])
    return None


def _judged(found: Split, rules: EntryRules) -> Question | Ineligible:
    text = found.question
    if _may_be_code(text) and _CODE.search(text):
        return Ineligible(reason="code")
    plain = _plain_words(text)
    if _may_be_live(plain) and _LIVE.search(text):
        return Ineligible(reason="live")
    if _may_be_personal(text, plain) and _MINE.search(text):
        return Ineligible(reason="personal")
    words = tuple(words_of(text))
    if len([word for word in words if word not in FUNCTION]) < rules.min_content_words:
        return Ineligible(reason="too_short")
    return Question(text=text, words=words, attachment=found.attachment)


def _may_be_code(text: str) -> bool:
    """Whether `_CODE` can find anything: a mark, a word, an indented line; of white space only a blank is printable."""
    return not _CODE_MARKS.isdisjoint(text) or not text.isprintable() or any(map(text.__contains__, _CODE_WORDS))


def _plain_words(text: str) -> Collection[str]:
    """Return the words, case folded: that goes as far as IGNORECASE does: a long s is an s."""
    return _WORDS.findall(text.casefold())


def _may_be_live(words: Collection[str]) -> bool:
    """Whether `_LIVE` can find anything in a text of these plain words."""
    return not _LIVE_WORDS.isdisjoint(words)


def _may_be_personal(text: str, words: Collection[str]) -> bool:
    """Whether `_MINE` can find anything; to IGNORECASE a dotless i is an i, to case folding it is not."""
    return not _MINE_WORDS.isdisjoint(words) or not text.isascii()


def _refused_parameter(document: Mapping[str, object], rules: EntryRules, *, opted_in: bool) -> Reason | None:
    if document.get("tools") or document.get("functions"):
        return "tools"
    if document.get("n") not in (None, 1):
        return "several_answers"
    if document.get("logprobs") or document.get("top_logprobs"):
        return "logprobs"
    if document.get("seed") is not None:
        return "seed"
    if document.get("modalities") not in (None, ["text"]) or document.get("audio"):
        return "media"
    temperature = document.get("temperature")
    if isinstance(temperature, (int, float)) and rules.max_temperature is not None and not opted_in:
        return "temperature" if temperature > rules.max_temperature else None
    return None


def _has_tool_results(document: Mapping[str, object]) -> bool:
    return any(_is_of_tools(message) for message in _messages(document))


def _is_of_tools(message: Mapping[str, object]) -> bool:
    return bool(
        message.get("role") in ("tool", "function") or message.get("tool_calls") or message.get("function_call")
    )


def _refused_message(document: Mapping[str, object]) -> Reason | None:
    for message in _messages(document):
        if _is_of_tools(message):
            return "tools"
        content = message.get("content")
        if isinstance(content, list) and any(not _is_text(part) for part in content):
            return "media"
    return None


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type", "text") in ("text", "input_text", "refusal")


def _messages(document: Mapping[str, object]) -> list[dict[str, object]]:
    messages = document.get("messages")
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
