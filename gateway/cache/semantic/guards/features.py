"""Everything the guards read from a question, computed once and kept beside its entry."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.cache.semantic.guards import content, form, numbers, persons, polarity, roles
from gateway.cache.semantic.guards.lemma import lemma_of
from gateway.cache.semantic.guards.words import words_of


class Features(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A question as the guards see it. `words` are plain, `content` the compared forms of the content words in order.

    `common` and `rare` split the content words without the numbers; `capitalised` are those of the common ones that
    this question writes as names.
    """

    words: tuple[str, ...]
    content: tuple[str, ...]
    numbers: tuple[str, ...]
    common: frozenset[str]
    rare: frozenset[str]
    capitalised: frozenset[str]
    quoted: tuple[str, ...]
    polarity: polarity.Polarity
    form: form.Form
    persons: tuple[str, ...]
    roles: roles.Roles


def features_of(text: str, words: Sequence[str] | None = None) -> Features:
    """Read a question. Pure: the same text gives the same features under one GUARD_VERSION.

    `words` are those of `text` (words_of) where they have been read already.
    """
    words = words_of(text) if words is None else words
    found, drawn = numbers.read(words)
    bases = [word if word[0] == "#" else lemma_of(word) for word in drawn]
    kept = content.keep(drawn, bases)
    named = frozenset([word for word in kept if word[0] != "#"])
    rare = frozenset([word for word in named if content.is_rare(word)])
    return Features(
        words=tuple(words),
        content=kept,
        numbers=found,
        common=named - rare,
        rare=rare,
        capitalised=content.capitalised(text) - rare,
        quoted=content.quoted(text),
        polarity=polarity.read(drawn, bases),
        form=form.read(words),
        persons=persons.read(words),
        roles=roles.read(drawn, bases),
    )
