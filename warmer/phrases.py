"""Words, phrases and question templates: a template is a question in which one phrase may be another. Must keep
nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[\w'’-]+", re.UNICODE)
_LONGEST_PHRASE = 3
_LONGEST_QUESTION = 24
SLOT = "\u27e8\u27e9"

_PLAIN = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all am an and any are as at be been before being but by can could did do does for from get had
        has have he her him his how i if in into is it its just like make me more most my no not of on one or our out
        over should so some than that the their them then there these they this to up us was we were what when where
        which while who whom why will with would you your
        """,
    )
)
"""English words that are no phrase by themselves. In another language all words count, and the threshold decides."""


def phrases_of(question: str) -> Iterator[tuple[str, str]]:
    """Yield each phrase of up to three words, in lower case, with the template that is left, as it is written.

    A phrase neither begins nor ends with a plain word. Of long questions the first 24 words count.
    """
    words = list(_WORD.finditer(question))[:_LONGEST_QUESTION]
    is_plain = [word.group().lower() in _PLAIN for word in words]
    for first in range(len(words)):
        if is_plain[first]:
            continue
        for last in range(first, min(len(words), first + _LONGEST_PHRASE)):
            if not is_plain[last]:
                start, end = words[first].start(), words[last].end()
                yield question[start:end].lower(), question[:start] + SLOT + question[end:]


def fill_phrase(template: str, phrase: str) -> str:
    """Return the question again."""
    return template.replace(SLOT, phrase, 1)
