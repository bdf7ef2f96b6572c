"""Which answers may serve another wording of their question: the semantic tier's part beside admission.is_good.

Reads a whole chat.completion; what is good enough for the exact tier was decided before.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

_APOSTROPHES: Final = str.maketrans({"\u2019": "'"})
_REFUSAL: Final = re.compile(
    r"\A\W*(?:(?:i'm|i am|we're)\s+(?:very |so |really )?sorry\b.{0,60}?"
    r"\b(?:can't|cannot|can not|unable|not able|won't)"
    r"|(?:sorry|unfortunately|apologies|i apologi[sz]e)\b.{0,60}?\b(?:can't|cannot|can not|unable|not able|won't)"
    r"|i\s+(?:can't|cannot|can not|won't|will not|am unable to|am not able to|must decline to)\s+(?:\w+\s+)?(?:help"
    r"|assist|provide|answer"
    r"|discuss|comply|do that|fulfil|create|generate|support|engage|share|give|access|browse)\b"
    r"|i'm (?:unable|not able) to\b|as an ai\b.{0,80}?\b(?:can't|cannot|don't|do not|unable)"
    r"|i (?:don't|do not) have (?:access|information|real-time|enough|the ability))",
    re.IGNORECASE | re.DOTALL,
)


def answer_text(body: bytes) -> str | None:
    """Return the text of a chat.completion of one plain choice; None for calls, refusals or several choices."""
    try:
        (choice,) = orjson.loads(body)["choices"]
        message = choice["message"]
        content = message["content"]
        is_plain = not (message.get("tool_calls") or message.get("function_call") or message.get("refusal"))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return content if is_plain and isinstance(content, str) and content.strip() else None


def is_refusal(text: str) -> bool:
    """Whether an answer begins by declining; a provider's `refusal` field needs no reading."""
    return _REFUSAL.match(text[:400].translate(_APOSTROPHES)) is not None


def is_storable_answer(body: bytes, *, refusals_are_answers: bool = False) -> bool:
    """Whether a complete good answer may serve other wordings of its question.

    `refusals_are_answers`: for a class that is refused by rule, where declining is the right answer.
    """
    return storable_text(body, refusals_are_answers=refusals_are_answers) is not None


def storable_text(body: bytes, *, refusals_are_answers: bool = False) -> str | None:
    """Return the text of an answer that may serve other wordings (`is_storable_answer`), else None."""
    text = answer_text(body)
    return text if text is not None and (refusals_are_answers or not is_refusal(text)) else None
