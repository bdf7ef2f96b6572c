"""A text as plain lower-case words: no case, punctuation, contractions or typographic variants; nothing is judged here.

Letters and digits are cut apart ("iphone7" and "iPhone 7" read alike); every script's letters are kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

# Every letter, and whole blocks beyond Latin: their combining marks are no \w, yet change the word.
_LETTER: Final = (
    r"(?:[^\W\d_]|[\u0300-\u1fff\u2100-\u2bff\u2c00-\u2fff\u3040-\ud7ff\uf900-\ufaff\U00010000-\U0010ffff])"
)
_WORD: Final = re.compile(
    r"(?<![\w)])-?\d+(?:[.,:]\d+)*|\d+(?:[.,:]\d+)*"
    r"|[a-z](?:\+\+|#)(?!\w)"
    rf"|{_LETTER}+(?:'{_LETTER}+)*"
    r"|[%$€£₹¥+*^=<>&#]"
)
_ASCII_WORD: Final = re.compile(
    r"(?<![\w)])-?\d+(?:[.,:]\d+)*|\d+(?:[.,:]\d+)*"
    r"|[a-z](?:\+\+|#)(?!\w)"
    r"|[a-z]+(?:'[a-z]+)*"
    r"|[%$+*^=<>&#]"
)
_QUOTES: Final = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "`": "'", "\u00b4": "'", "\u2212": "-"})
_INITIALS: Final = re.compile(r"\b(?:[a-z]\.){2,}(?:[a-z]\b)?")
_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?")

_CONTRACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "shan't": ("shall", "not"),
    "ain't": ("is", "not"),
    "let's": ("let", "us"),
    "i'm": ("i", "am"),
    "gonna": ("going", "to"),
    "wanna": ("want", "to"),
    "y'all": ("you",),
    "&": ("and",),
    "v": ("vs",),
    "versus": ("vs",),
    "cant": ("can", "not"),
    "dont": ("do", "not"),
    "doesnt": ("does", "not"),
    "didnt": ("did", "not"),
    "isnt": ("is", "not"),
    "arent": ("are", "not"),
    "wasnt": ("was", "not"),
    "wont": ("will", "not"),
    "shouldnt": ("should", "not"),
    "wouldnt": ("would", "not"),
    "couldnt": ("could", "not"),
    "havent": ("have", "not"),
    "hasnt": ("has", "not"),
    "whats": ("what", "is"),
    "im": ("i", "am"),
    "ive": ("i", "have"),
    "u": ("you",),
    "ur": ("your",),
}
_ENDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "'re": ("are",),
    "'ve": ("have",),
    "'ll": ("will",),
    "'d": ("would",),
    "'m": ("am",),
}
_S_IS: Final = frozenset(
    ("what", "who", "where", "when", "how", "why", "it", "that", "there", "he", "she", "this", "here", "which")
)


def words_of(text: str) -> list[str]:
    """Return the words in order: lower case, contractions written out, numbers as they stand."""
    if text.isascii():
        plain, pattern = text.lower(), _ASCII_WORD
    else:
        plain, pattern = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold(), _WORD
    if "." in plain:
        plain = _INITIALS.sub(lambda found: found[0].replace(".", ""), plain)
    found: list[str] = pattern.findall(plain)
    if "'" not in plain and "," not in plain and _CONTRACTIONS.keys().isdisjoint(found):
        return found
    words: list[str] = []
    for word in found:
        if "," in word:  # of all that is found only numbers hold one
            words.append(word.replace(",", "") if _THOUSANDS.fullmatch(word) else word.rstrip(","))
        elif "'" in word or word in _CONTRACTIONS:
            words.extend(_written_out(word))
        else:
            words.append(word)
    return words


def _written_out(word: str) -> tuple[str, ...]:
    known = _CONTRACTIONS.get(word)
    if known is not None:
        return known
    if word.endswith("n't"):
        return (word[:-3], "not")
    for ending, words in _ENDINGS.items():
        if word.endswith(ending):
            return (word[: -len(ending)], *words)
    if word.endswith("'s"):
        stem = word[:-2]
        return (stem, "is") if stem in _S_IS else (stem,)
    return (word.replace("'", ""),)
