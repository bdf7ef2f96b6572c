"""The table of guards, and which of their refusals are final; each guard's own idea is a file of its own.

No I/O, no state, no vectors: similarity is the index's business, and the bound is the gate's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gateway.cache.semantic.guards import content, form, numbers, persons, polarity, roles
from gateway.cache.semantic.guards.features import Features
from gateway.cache.semantic.guards.lexicon import DEEDS

GUARD_VERSION: Final = 1
"""Part of every scope: bump it when a guard or a word list changes, so that no entry meets features of another kind."""

Guard = Callable[[Features, Features], bool]

_SHORTEST_TO_LONGEST: Final = 0.4
_NARROWING_WORDS: Final = 2
"""So many common words that only one side has, with none in their place, ask something narrower."""


def _numbers(asked: Features, stored: Features) -> bool:
    return numbers.same(asked.numbers, stored.numbers)


def _polarity(asked: Features, stored: Features) -> bool:
    return polarity.same(asked.polarity, stored.polarity)


def _names(asked: Features, stored: Features) -> bool:
    if asked.quoted and stored.quoted and sorted(asked.quoted) != sorted(stored.quoted):
        return False
    if not (asked.capitalised - stored.common).isdisjoint(asked.common):
        return False
    if not (stored.capitalised - asked.common).isdisjoint(stored.common):
        return False
    return not content.unmatched(asked.rare, stored.rare) and not content.unmatched(stored.rare, asked.rare)


def _scope(asked: Features, stored: Features) -> bool:
    return abs(len(asked.common - stored.common) - len(stored.common - asked.common)) < _NARROWING_WORDS


def _wording(asked: Features, stored: Features) -> bool:
    deeds, others = asked.polarity[1] & DEEDS, stored.polarity[1] & DEEDS
    return asked.common == stored.common and (deeds <= others or others <= deeds)


def _form(asked: Features, stored: Features) -> bool:
    return form.same(asked.form, stored.form)


def _tense(asked: Features, stored: Features) -> bool:
    return form.same_tense(asked.form, stored.form)


def _persons(asked: Features, stored: Features) -> bool:
    return persons.same(asked.persons, stored.persons)


def _roles(asked: Features, stored: Features) -> bool:
    return roles.same(asked.roles, stored.roles)


def _length(asked: Features, stored: Features) -> bool:
    short, long = sorted((len(asked.words), len(stored.words)))
    return long == 0 or short / long >= _SHORTEST_TO_LONGEST


GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("numbers", _numbers),
    ("polarity", _polarity),
    ("names", _names),
    ("scope", _scope),
    ("wording", _wording),
    ("form", _form),
    ("tense", _tense),
    ("persons", _persons),
    ("roles", _roles),
    ("length", _length),
)
"""Name and check of every guard, in the order in which they are named. Each is symmetric."""

VERIFIABLE: Final = frozenset(("wording", "tense"))
"""Guards whose refusal a second look may overrule: another common word or tense is often the same question.

The class's logistic on `pair_features` or a verifier decides there; every other refusal is final.
"""


def fails_any(asked: Features, stored: Features, names: frozenset[str]) -> bool:
    """Say whether a guard that `names` holds is among those that `failed` returns; asks no more than it takes."""
    if asked is stored:
        return False
    for holds in _named(names):  # noqa: SIM110 - the first refuses most pairs: a generator costs more than it
        if not holds(asked, stored):
            return True
    return False


@lru_cache(maxsize=16)
def _named(names: frozenset[str]) -> tuple[Guard, ...]:
    return tuple(holds for name, holds in GUARDS if name in names)


def failed(asked: Features, stored: Features) -> tuple[str, ...]:
    """Return the names of the guards that refuse the pair, in the table's order; empty: the answer may serve."""
    if asked is stored:
        return ()
    return tuple(name for name, holds in GUARDS if not holds(asked, stored))
