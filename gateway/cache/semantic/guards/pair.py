"""How two questions differ, as numbers for the class's logistic and for a second look; it judges nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.cache.semantic.guards import form, persons, polarity, roles
from gateway.cache.semantic.guards.content import is_rare, unmatched
from gateway.cache.semantic.guards.features import Features

PAIR_FEATURES: Final = (
    "word_jaccard",
    "content_jaccard",
    "missing_weight",
    "extra_weight",
    "rare_difference",
    "common_difference",
    "number_difference",
    "is_one_replaced",
    "is_narrower",
    "same_form",
    "same_tense",
    "same_polarity",
    "same_persons",
    "same_roles",
    "length_ratio",
    "shared_ends",
)
"""Names of pair_features' values, in order. Counts and weights are capped at 4, the rest lies within 0 and 1."""

Rarity = Callable[[str], float]
"""Weight of a content word's compared form: about 1 for a common one, higher for a rarer one (an online IDF, say)."""

_MOST: Final = 4.0


def listed_rarity(word: str) -> float:
    """Weigh by the shipped word list: numbers 3, rare words 2, common ones 1."""
    return 3.0 if word[0] == "#" else 2.0 if is_rare(word) else 1.0


def pair_features(asked: Features, stored: Features, *, rarity: Rarity = listed_rarity) -> tuple[float, ...]:
    """Return the values that PAIR_FEATURES names. Symmetric but for missing_weight and extra_weight, which swap."""
    ours, theirs = frozenset(asked.content), frozenset(stored.content)
    missing, extra = unmatched(ours, theirs), unmatched(theirs, ours)
    return (
        _jaccard(frozenset(asked.words), frozenset(stored.words)),
        _jaccard(ours, theirs),
        _capped(sum(map(rarity, sorted(missing)))),
        _capped(sum(map(rarity, sorted(extra)))),
        _capped(sum(1 for word in missing | extra if word[0] != "#" and is_rare(word))),
        _capped(len(asked.common ^ stored.common)),
        _capped(len(set(asked.numbers) ^ set(stored.numbers))),
        float(len(missing) == len(extra) == 1),
        float(bool(missing) != bool(extra)),
        float(form.same(asked.form, stored.form)),
        float(form.same_tense(asked.form, stored.form)),
        float(polarity.same(asked.polarity, stored.polarity)),
        float(persons.same(asked.persons, stored.persons)),
        float(roles.same(asked.roles, stored.roles)),
        _length_ratio(asked.words, stored.words),
        _shared_ends(asked.words, stored.words),
    )


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _capped(value: float) -> float:
    return min(_MOST, float(value))


def _length_ratio(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    longest = max(len(one), len(other))
    return min(len(one), len(other)) / longest if longest else 1.0


def _shared_ends(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Return the share of the longer text that is a common beginning or end: a pure insertion has 1 less its words."""
    longest, shortest = max(len(one), len(other)), min(len(one), len(other))
    ahead = next((at for at in range(shortest) if one[at] != other[at]), shortest)
    behind = next((at for at in range(shortest - ahead) if one[-1 - at] != other[-1 - at]), shortest - ahead)
    return (ahead + behind) / longest if longest else 1.0
