"""Phrases that many recent questions hold, filled into the templates that questions of this tenant have: what follows
is likely to be asked. Its calibrated chance, not the idea, decides. Must not look at sessions.

A phrase counts from `threshold` of the recent questions on (10 % by default), a template from three phrases on. The
chance is of the template's use within the answer's time, times the phrase's share among what fills templates.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from warmer.phrases import SLOT, fill_phrase, phrases_of
from warmer.sketches import SpaceSaving
from warmer.state import dump, restore
from warmer.types import Event, Prediction, Written

VERSION = 1
THRESHOLD = 0.1
_WINDOW = 400
_LEAST_QUESTIONS = 20
_TEMPLATES = 1024
_HALF_LIFE_S = 3 * 86_400.0
_FILLERS = 3
_MOST = 32
_PHRASES = 8
_LASTS_S = 300.0
_LONGEST = 400
"""Characters; longer questions are not of templates."""


class Template(msgspec.Struct, kw_only=True):
    """Which phrases filled it (digests, as many as are needed), who used it last, and how long answers are good."""

    fillers: list[str]
    like: str
    ttl_s: float


class Learnt(msgspec.Struct, kw_only=True):
    """Everything kept of one tenant; `recent` are the phrases of the last questions, one entry a question."""

    hot: SpaceSaving
    templates: dict[str, Template] = msgspec.field(default_factory=dict)
    recent: list[list[str]] = msgspec.field(default_factory=list)
    first_s: float = 0.0


class KeyPhrases:
    """One tenant's phrases and templates."""

    def __init__(self, tenant: str, *, threshold: float = THRESHOLD) -> None:
        self._tenant = tenant
        self._threshold = threshold
        self._learnt = Learnt(hot=SpaceSaving(capacity=_TEMPLATES, half_life_s=_HALF_LIFE_S))
        self._counts: Counter[str] = Counter()
        self._made: Sequence[Prediction] = ()
        self._made_s = -_LASTS_S

    def observe(self, event: Event) -> None:
        """Learn from a question that is about nothing else than itself."""
        if not event.question or event.attachment or len(event.question) > _LONGEST:
            return
        learnt = self._learnt
        learnt.first_s = learnt.first_s or event.at_s
        found = dict(phrases_of(event.question))
        for phrase, template in found.items():
            self._note(template, phrase, event)
        learnt.recent.append(list(found))
        self._counts.update(found.keys())
        if len(learnt.recent) > _WINDOW:
            for phrase in learnt.recent.pop(0):
                self._counts[phrase] -= 1
                if not self._counts[phrase]:
                    del self._counts[phrase]

    def _note(self, template: str, phrase: str, event: Event) -> None:
        learnt = self._learnt
        for evicted in learnt.hot.add(template, event.at_s):
            learnt.templates.pop(evicted, None)
        one = learnt.templates.get(template)
        if one is None:
            one = learnt.templates[template] = Template(fillers=[], like=event.key, ttl_s=event.ttl_s)
        one.like, one.ttl_s = event.key, event.ttl_s
        filler = _short(phrase)
        if len(one.fillers) < _FILLERS and filler not in one.fillers:
            one.fillers.append(filler)

    def frequent(self) -> Sequence[tuple[str, float]]:
        """Return the phrases above the threshold with their shares of the recent questions."""
        n = len(self._learnt.recent)
        if n < _LEAST_QUESTIONS:
            return ()
        most = self._counts.most_common(_PHRASES)
        return [(phrase, count / n) for phrase, count in most if count >= self._threshold * n]

    def predict(self, now_s: float, _fresh_until_s: Mapping[str, float], /) -> Sequence[Prediction]:
        """Return the frequent phrases in mined templates. Keys are not known here: the quote says what is fresh.

        Made anew five minutes later at the earliest: neither phrases nor templates change faster.
        """
        if now_s - self._made_s >= _LASTS_S:
            self._made, self._made_s = self._predict(now_s), now_s
        return self._made

    def _predict(self, now_s: float) -> Sequence[Prediction]:
        phrases = self.frequent()
        if not phrases:
            return ()
        learnt = self._learnt
        watched_s = max(3600.0, min(now_s - learnt.first_s, _HALF_LIFE_S / math.log(2)))
        found: list[Prediction] = []
        for name, weight in learnt.hot.heaviest(now_s, least=0.5):
            template = learnt.templates.get(name)
            if template is None or len(template.fillers) < _FILLERS or name == SLOT:
                continue
            uses = weight / watched_s * template.ttl_s
            found.extend(
                self._prediction(fill_phrase(name, phrase), template, -math.expm1(-uses * share), now_s)
                for phrase, share in phrases
            )
            if len(found) >= 4 * _MOST:
                break
        return sorted(found, key=lambda one: -one.probability)[:_MOST]

    def _prediction(self, question: str, template: Template, probability: float, now_s: float) -> Prediction:
        return Prediction(
            tenant=self._tenant,
            recipe=Written(like=template.like, question=question),
            predictor="key_phrases",
            probability=probability,
            due_at_s=now_s + template.ttl_s / 2,
            until_s=now_s + template.ttl_s,
        )

    def dump(self) -> bytes:
        """Return phrases and templates."""
        return dump(self._learnt, version=VERSION)

    def restore(self, learnt: bytes) -> None:
        """Take phrases and templates back."""
        self._learnt = restore(learnt, Learnt, version=VERSION) or self._learnt
        self._counts = Counter(phrase for phrases in self._learnt.recent for phrase in phrases)


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
