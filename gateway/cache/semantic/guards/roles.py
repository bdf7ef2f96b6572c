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
_JOINING: Final = frozenset(("and", "or", "vs", "between"))

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
    if asked[0] == stored[0]:
        return _directed(asked) == _directed(stored) or not _moved(asked, stored)
    moved_freely = {word for marker, word in asked[1] & stored[1]}
    common = (set(asked[0]) & set(stored[0])) - moved_freely
    one = [word for word in asked[0] if word in common]
    other = [word for word in stored[0] if word in common]
    return one == other and not _moved(asked, stored)


def _close(runs: list[tuple[str, ...]], run: list[str], *, is_joined: bool) -> None:
    if not run:
        return
    if is_joined and runs and runs[-1] > tuple(run):
        runs.insert(-1, tuple(run))
    else:
        runs.append(tuple(run))


def _directed(roles: Roles) -> frozenset[tuple[str, str]]:
    return frozenset(pair for pair in roles[1] if pair[0] in _DIRECTED)


def _moved(asked: Roles, stored: Roles) -> bool:
    """Whether a word that both hold stands behind a directed preposition in one and behind another, or none, in one."""
    both = set(asked[0]) & set(stored[0])
    return any(word in both for _, word in _directed(asked) ^ _directed(stored))
