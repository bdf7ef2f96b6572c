"""The content words that a question turns on: common ones narrow its scope, rare ones and quoted ones are names.

Whatever the shipped word list lacks is rare, in either case: "boeing" needs no capital to be a name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.cache.semantic.guards.lemma import lemma_of
from gateway.cache.semantic.guards.lexicon import COMMON, FUNCTION, LIGHT

_BEFORE_THE_STATES: Final = frozenset(("the", "in"))
_QUOTED: Final = re.compile(r'["“”«»]([^"“”«»]{1,80})["“”«»]')
_CAPITALISED: Final = re.compile(r"(?<=[\w,;'’\"“(] )[\"“(]?([A-Z][a-z]+)")
_LONG_ENOUGH_TO_MISSPELL: Final = 6


def keep(words: Sequence[str], bases: Sequence[str]) -> tuple[str, ...]:
    """Return the content words' compared forms, in order; numbers (`#5 km`) among them."""
    kept: list[str] = []
    for at, base in enumerate(bases):
        if words[at] == "us" and _is_the_states(words, bases, at):
            kept.append("usa")
        elif base not in FUNCTION and base not in LIGHT and words[at] not in LIGHT:
            kept.append(base)
    return tuple(kept)


def _is_the_states(words: Sequence[str], bases: Sequence[str], at: int) -> bool:
    """Whether "us" is the country: "in the US", "US president"; never "tell us"."""
    is_after = at > 0 and words[at - 1] in _BEFORE_THE_STATES
    return is_after or (at + 1 < len(bases) and bases[at + 1] not in FUNCTION and words[at - 1 : at] != ["let"])


def capitalised(text: str) -> frozenset[str]:
    """Return the compared forms of words with a capital inside a sentence: "Mark" and "Bill" are names there.

    None where capitals tell nothing: in a title or in capitals throughout.
    """
    found = _CAPITALISED.findall(text)
    if not found or 2 * len(found) >= text.count(" ") + 1:
        return frozenset()
    return frozenset(lemma_of(word.lower()) for word in found)


def is_rare(base: str) -> bool:
    """Whether a content word is none of the common ones."""
    return base not in COMMON


def quoted(text: str) -> tuple[str, ...]:
    """Return what stands between double quotes, lower case, white space collapsed."""
    if text.isascii() and '"' not in text:
        return ()
    return tuple(" ".join(part.lower().split()).strip(" .,?!") for part in _QUOTED.findall(text))


def unmatched(ours: frozenset[str], theirs: frozenset[str]) -> frozenset[str]:
    """Return the words of `ours` that `theirs` lacks, misspellings and adjectives of places forgiven."""
    missing = ours - theirs
    if not missing:
        return missing
    left = theirs - ours
    return frozenset(word for word in missing if not _has_variant(word, left))


def _has_variant(word: str, others: frozenset[str]) -> bool:
    return any(is_same_word(word, other) for other in others)


def is_same_word(one: str, other: str) -> bool:
    """Whether two rare words are one word: a doubled or swapped letter, or a place and its adjective."""
    short, long = sorted((one, other), key=len)
    if long == short + "n" and short.endswith("a") and len(short) > 3:
        return True
    if len(short) < _LONG_ENOUGH_TO_MISSPELL or short[0] != long[0] or short in COMMON or long in COMMON:
        return False
    if len(short) == len(long):
        return _is_swapped(short, long)
    if len(long) != len(short) + 1:
        return False
    at = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    return long[:at] + long[at + 1 :] == short and long[at] == long[at - 1]


def _is_swapped(one: str, other: str) -> bool:
    at = [i for i, letter in enumerate(one) if letter != other[i]]
    return len(at) == 2 and at[1] == at[0] + 1 and one[at[0]] == other[at[1]] and one[at[1]] == other[at[0]]
