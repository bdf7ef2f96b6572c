"""Who does what to whom, from what to what: the order of the content words, as far as order means something.

Joined names ("tea or coffee") may swap; a phrase behind the same preposition may move ("in India, how ...").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.cache.semantic.guards.lexicon import FUNCTION, LIGHT
from gateway.cache.semantic.guards.listing import listed

_DIRECTED: Final = frozenset(listed("from to into onto than by over against before after without under off out behind"))
_PLACED: Final = frozenset(listed("in on at of for with about within during via per through among upon"))
_STRICT: Final = frozenset(("by", "than"))
_JOINING: Final = frozenset(("and", "or", "vs"))

Roles = tuple[tuple[str, ...], frozenset[tuple[str, str]]]
"""The words in order, joined ones sorted; and each word behind a preposition, with it."""


def read(words: Sequence[str], bases: Sequence[str]) -> Roles:
    """Return the order of the content words and what stands behind which preposition."""
    runs: list[tuple[str, ...]] = []
    marked: set[tuple[str, str]] = set()
    run: list[str] = []
    marker, is_joined = "", False
    for word, base in zip((*words, "and"), (*bases, "and"), strict=True):
        if base not in FUNCTION:
            if base not in LIGHT and word not in LIGHT:
                run.append(base)
                if marker:
                    marked.add((marker, base))
            continue
        _close(runs, run, is_joined=is_joined)
        is_joined = (word in _JOINING) if run or word not in ("a", "an", "the") else is_joined
        run = []
        if word in _DIRECTED or word in _PLACED:
            marker = word
        elif word not in ("a", "an", "the", "my", "your", "and", "or"):
            marker = ""
    return tuple(word for part in runs for word in part), frozenset(marked)


def same(asked: Roles, stored: Roles) -> bool:
    """Whether the words that both hold stand in the same roles."""
    if asked == stored:
        return True
    both = set(asked[0]) & set(stored[0])
    ours = {pair for pair in asked[1] - stored[1] if pair[1] in both}
    theirs = {pair for pair in stored[1] - asked[1] if pair[1] in both}
    if any(marker in _STRICT for marker, _ in ours | theirs) or _is_swapped(ours, theirs):
        return False
    free = {word for marker, word in asked[1] | stored[1] if marker in _PLACED}
    fixed = {word for word in both - free if not word.endswith("ly")}
    return [word for word in asked[0] if word in fixed] == [word for word in stored[0] if word in fixed]


def _is_swapped(ours: set[tuple[str, str]], theirs: set[tuple[str, str]]) -> bool:
    """Whether a preposition went over to another word, or a word from one directed preposition to another."""
    return any(
        (marker == other and word != another)
        or (word == another and marker != other and marker in _DIRECTED and other in _DIRECTED)
        for marker, word in ours
        for other, another in theirs
    )


def _close(runs: list[tuple[str, ...]], run: list[str], *, is_joined: bool) -> None:
    if not run:
        return
    if is_joined and runs and runs[-1] > tuple(run):
        runs.insert(-1, tuple(run))
    else:
        runs.append(tuple(run))
