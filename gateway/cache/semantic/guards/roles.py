"""Who does what to whom, from what to what: the order of the content words, as far as order means something.

Joined names ("tea or coffee") may swap; a phrase behind the same preposition may move ("in India, how ...").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.cache.semantic.guards.lexicon import FUNCTION, LIGHT
from gateway.cache.semantic.guards.listing import listed

_DIRECTED: Final = frozenset(listed("from to into onto than by over against before after without under off out behind"))
_PLACED: Final = frozenset(listed("in on at of for with about within during via per through among upon"))
_TELLING: Final = frozenset(listed("before after without over under against behind during"))
_STRICT: Final = frozenset(("by", "than"))
_TRANSPARENT: Final = frozenset(listed("a an the my your"))
_NEAREST: Final = 2
"""Content words to each side of a joining word that it may join: a name, or a name of two words."""
_JOINING: Final = frozenset(("and", "or", "vs"))


class Roles(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The content words in order; each word behind a preposition, with it; the words beside a joining word."""

    order: tuple[str, ...]
    marked: frozenset[tuple[str, str]]
    joined: frozenset[str]


def read(words: Sequence[str], bases: Sequence[str]) -> Roles:
    """Return the order of the content words and what stands behind which preposition."""
    order: list[str] = []
    marked: set[tuple[str, str]] = set()
    joined: set[str] = set()
    marker, after_join = "", 0
    for word, base in zip(words, bases, strict=True):
        if base not in FUNCTION:
            if base not in LIGHT and word not in LIGHT:
                order.append(base)
                if marker:
                    marked.add((marker, base))
                if after_join:
                    joined.add(base)
                    after_join -= 1
        elif word in _JOINING:
            joined.update(order[-_NEAREST:])
            after_join = _NEAREST
        elif word in _DIRECTED or word in _PLACED:
            marker = word
        elif word not in _TRANSPARENT:
            marker = ""
    return Roles(order=tuple(order), marked=frozenset(marked), joined=frozenset(joined))


def same(asked: Roles, stored: Roles) -> bool:
    """Whether the words that both hold stand in the same roles."""
    if asked == stored:
        return True
    both = set(asked.order) & set(stored.order)
    ours = {pair for pair in asked.marked - stored.marked if pair[1] in both}
    theirs = {pair for pair in stored.marked - asked.marked if pair[1] in both}
    if any(marker in _STRICT for marker, _ in ours | theirs) or _is_swapped(ours, theirs):
        return False
    free = {word for marker, word in asked.marked | stored.marked if marker in _PLACED}
    fixed = {word for word in both - free if not word.endswith("ly")}
    joined = asked.joined & stored.joined
    return _fixed(asked.order, fixed, joined) == _fixed(stored.order, fixed, joined)


def _fixed(order: Sequence[str], fixed: set[str], joined: frozenset[str]) -> list[str]:
    # What is joined in both may swap places, not leave them.
    return ["" if word in joined else word for word in order if word in fixed]


def _is_swapped(ours: set[tuple[str, str]], theirs: set[tuple[str, str]]) -> bool:
    """Whether a preposition went over to another word, or a word has another one that means another thing."""
    return any(
        (marker == other and word != another)
        or (word == another and (marker in _TELLING or other in _TELLING))
        or (word == another and marker in _DIRECTED and other in _DIRECTED)
        for marker, word in ours
        for other, another in theirs
    )
