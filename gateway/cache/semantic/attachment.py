"""A long text and a question about it, told apart: the question is matched, the text belongs to the scope.

Where they cannot be told apart the whole stays the question, and the embedder's window refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_LONG: Final = 600
"""Characters, about 150 tokens: shorter texts are read as one question."""
_LONGEST: Final = 32_000
"""Longer ones too: looking for the question in them would take milliseconds. The embedder's window refuses them."""

_ASKED_LAST: Final = re.compile(
    r"\n[ \t]*(?:#+[ \t]*|\*\*)?(?:question|query|q|task|instructions?|request|user question)"
    r"(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*\n?",
    re.IGNORECASE,
)
_ASKED_FIRST: Final = re.compile(
    r"\n[ \t]*(?:#+[ \t]*|\*\*)?(?:transcript|text|context|document|article|passage|conversation|debate|section|input"
    r"|content|email|excerpt)(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*\n?",
    re.IGNORECASE,
)
_FENCE: Final = re.compile(r'^(?:"""|\'\'\'|---+|===+|<<<+|>>>+)[ \t]*$', re.MULTILINE)
_OPENED: Final = re.compile(r"<([A-Za-z][\w-]{0,63})>")
_MOST_TAGS: Final = 16
_LABEL: Final = re.compile(r"\A\s*(?:question|query|q|task)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """`attachment` holds everything of the message but the question, '' where there is nothing else."""

    question: str
    attachment: str = ""


def split_parts(texts: Sequence[str]) -> Split | None:
    """Take the last text part as the question and all before it as the attachment; None without any."""
    if not texts:
        return None
    last = split_text(texts[-1])
    # The joint is no character a part may hold, so that moving text from part to part changes the attachment.
    before = "\0".join(f"{len(text)}:{text}" for text in texts[:-1])
    return Split(question=last.question, attachment=before + "\0" + last.attachment if before else last.attachment)


def split_text(text: str) -> Split:
    """Cut a long message at a label (`Question:`, `Transcript:`), a fence or a tagged block; else return it whole."""
    if not _LONG < len(text) <= _LONGEST:
        return Split(question=text.strip())
    for cut in (_by_tag, _by_last_label, _by_first_label, _by_fence):
        found = cut(text)
        if found is not None and 0 < len(found.question) < len(found.attachment):
            return found
    return Split(question=text.strip())


def _by_tag(text: str) -> Split | None:
    """Cut at the first block whose tag is closed; linear in the text, which a backreference would not be."""
    seen: set[str] = set()
    for opened in _OPENED.finditer(text):
        tag = opened[1]
        if tag in seen:
            continue
        closed = text.rfind(f"</{tag}>")
        if closed >= opened.end():
            return _split(text, opened.start(), closed + len(tag) + 3)
        seen.add(tag)
        if len(seen) == _MOST_TAGS:
            return None
    return None


def _by_last_label(text: str) -> Split | None:
    found = [match.end() for match in _ASKED_LAST.finditer(text)][-1:]
    return _split(text, 0, found[0]) if found else None


def _by_first_label(text: str) -> Split | None:
    found = _ASKED_FIRST.search(text)
    return _split(text, found.start(), len(text)) if found else None


def _by_fence(text: str) -> Split | None:
    fences = list(_FENCE.finditer(text))
    return _split(text, fences[0].start(), fences[-1].end()) if len(fences) >= 2 else None


def _split(text: str, start: int, end: int) -> Split | None:
    """Return what stands outside text[start:end] as the question; None where it stands on both sides."""
    before, after = text[:start].strip(), text[end:].strip()
    if before and after:
        return None
    side = "after" if after else "before"
    return Split(question=_LABEL.sub("", before or after), attachment=f"{side}\0{text[start:end]}")
