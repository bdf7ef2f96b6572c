"""What kind of answer is asked for: the question word, its tense, and the form (a list, a summary, a table, ...)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from gateway.cache.semantic.guards.lemma import lemma_of
from gateway.cache.semantic.guards.listing import heads

_MEANS: Final = "ways?|methods?|techniques?|steps?|process|procedure|tips?|tricks?"
_KINDS: Final = re.compile(
    r"\b(?:"
    r"(?P<measure>how (?:much|many|long|old|far|often|tall|big|large|high|deep|fast|likely|soon))"
    r"|(?P<why>why|how come|(?:what|which) (?:is|are|was|were) the (?:\w+ )?(?:reasons?|causes?)"
    r"|what (?:causes|caused|makes|made|is the reason))"
    rf"|(?P<way>(?:what|which) (?:is|are|was|were|would be|will be|can be|could be)(?: \w+){{0,4}} (?:{_MEANS})\b"
    r"|what (?:should|can|could|must|do|would) (?:i|you|we|one|someone|people) do (?:to|for)"
    rf"|is there (?:a|an|any)(?: \w+){{0,2}} (?:{_MEANS})\b|(?:best|easiest|fastest) (?:{_MEANS}) )"
    r"|(?P<how_is>how (?:is|are|was|were|am)\b)"
    r"|(?P<how>how)"
    r"|(?P<consequence>what (?:if|happens|happened)|what (?:will|would|can|could|might|does) happen)"
    r"|(?P<when>when|what (?:time|date|day|year))"
    r"|(?P<where>where|(?:what|which) place)"
    r"|(?P<whose>whose)"
    r"|(?P<what>what|which|who|whom)"
    r"|(?P<advice>should|ought)"
    r"|(?P<ability>can|could|possible|able|may|allowed)"
    r"|(?P<fact>(?:is|are|was|were|do|does|did|has|have|had|will|would|am) \w)"
    r")"
)
_FORMS: Final = heads(
    "summary summarize summarise tldr outline gist;list bullet bullets enumerate;table;json xml yaml csv;translate"
    " translation;poem haiku rhyme lyric;essay;story;joke;brief short concise briefly shortly;detail detailed"
    " thorough comprehensive in-depth;rewrite rephrase paraphrase;proofread;compare comparison;define"
    " definition;classify;pronounce pronunciation;spell;calculate compute;diagram;email letter"
)
_PAST: Final = frozenset(("was", "were", "did"))
_FUTURE: Final = frozenset(("will", "shall"))

Form = tuple[str, str, frozenset[str]]
"""Kind of question (a bare subject or a command asks what), tense, forms asked for."""


def read(words: Sequence[str]) -> Form:
    """Read the leftmost question word, the auxiliaries' tense and the words that name a form."""
    found = _KINDS.search(" ".join(words))
    kind = (found.lastgroup or "what") if found else "what"
    if kind == "measure" and found:
        kind = found[0]
    if kind == "way":
        kind = "how"
    tense = "past" if not _PAST.isdisjoint(words) else "future" if not _FUTURE.isdisjoint(words) else "present"
    return kind, tense, frozenset(filter(None, map(_form_of, words)))


@lru_cache(maxsize=32768)
def _form_of(word: str) -> str | None:
    return _FORMS.get(word) or _FORMS.get(lemma_of(word))


def same(asked: Form, stored: Form) -> bool:
    """Whether one kind and form of answer serves both, whatever the tense."""
    return asked[0] == stored[0] and asked[2] == stored[2]


def same_tense(asked: Form, stored: Form) -> bool:
    """Whether both ask of the past, or both of what is to come, or neither."""
    return asked[1] == stored[1]
