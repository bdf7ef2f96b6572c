"""Who does it: "does he like me" and "do I like him", "my name" and "your name".

In "how do I", "how can you", "what should one do" the person means anyone, and those are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.cache.semantic.guards.listing import listed

_PERSONS: Final = {
    form: person
    for person, forms in (
        ("1", "i me my mine myself we us our ours ourselves"),
        ("2", "you your yours yourself yourselves"),
        ("he", "he him his himself"),
        ("she", "she her hers herself"),
    )
    for form in listed(forms)
}
_ANYONE: Final = re.compile(
    r"\b(?:do|does|can|should|could|would|must|might|if|when|to) (?:i|you|we|one|someone|people)\b"
)
_OWN: Final = frozenset(("1", "2"))


def read(words: Sequence[str]) -> tuple[str, ...]:
    """Return the persons in order, each run once, or none but the third where only anyone is meant."""
    if _PERSONS.keys().isdisjoint(words):
        return ()
    persons: list[str] = []
    for at, word in enumerate(words):
        person = _PERSONS.get(word)
        is_the_states = word == "us" and at and words[at - 1] in ("the", "in")
        if person and not is_the_states and (not persons or persons[-1] != person):
            persons.append(person)
    if len(set(persons) & _OWN) < 2 and _OWN & set(persons) and _ANYONE.search(" ".join(words)):
        return tuple("any" if person in _OWN else person for person in persons)
    return tuple(persons)


def same(asked: tuple[str, ...], stored: tuple[str, ...]) -> bool:
    """Whether the same persons act, in the same order; a question of no person fits one of a single own or any."""
    if asked == stored:
        return True
    if asked and stored:
        return set(asked) | set(stored) <= {"1", "any"} or set(asked) | set(stored) <= {"2", "any"}
    return len(asked or stored) == 1 and (asked or stored)[0] not in ("he", "she")
