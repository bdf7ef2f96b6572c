"""What a recipe comes to: a kept body as it is to be posted, whole or with its question or transcript replaced.

Pure. A request that cannot be changed as wished is None, never something near it.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from gateway.cache.semantic.eligibility import asked_text
from gateway.retained.kept import Kept
from gateway.semantic.again import with_question
from policies.model import CacheRules

Document = dict[str, object]
_PLAIN = CacheRules()


def read_body(kept: Kept) -> Document | None:
    """Return what was posted, None where it cannot be read."""
    try:
        document = orjson.loads(kept.body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def written(like: Kept, *, question: str, about: Kept | None) -> Document | None:
    """Return `like` with another question, and where `about` is given with what that is about."""
    document = read_body(like)
    if document is None:
        return None
    if about is not None:
        other = read_body(about)
        document = None if other is None or about.kind != like.kind else _about(document, other, kind=like.kind)
    if document is None or like.kind == "run" or not question:
        return document
    return with_question(document, question)


def question_bytes(document: Mapping[str, object]) -> int:
    """Return how long the question is that a chat ends in, 0 where there is none."""
    found = asked_text(document, _PLAIN)
    return 0 if found is None else len(found.question.encode())


def unstreamed(document: Mapping[str, object]) -> Document:
    """Return the request as somebody asks it who does not watch; how it travels is no part of the exact key."""
    kept = {name: value for name, value in document.items() if name != "stream_options"}
    kept["stream"] = False
    return kept


def prefix_only(document: Mapping[str, object]) -> Document:
    """Return the request with one token of answer: its prompt is read, and that is all. Every provider takes 1."""
    kept = {name: value for name, value in document.items() if name not in ("max_completion_tokens", "n")}
    name = "max_completion_tokens" if "max_completion_tokens" in document else "max_tokens"
    kept[name] = 1
    return kept


def _about(document: Document, other: Document, *, kind: str) -> Document | None:
    """Return `document` with the transcript of `other`: of a run's field, of a chat its last message, question and all.

    The last message is what attachment and question stand in together, in whatever way this caller joins them.
    """
    if kind == "run":
        transcript = other.get("transcript")
        if not isinstance(transcript, str) or "transcript" not in document:
            return None
        return {**document, "transcript": transcript}
    messages, others = document.get("messages"), other.get("messages")
    if not isinstance(messages, list) or not isinstance(others, list) or not messages or not others:
        return None
    return {**document, "messages": [*messages[:-1], others[-1]]}
