"""What an answer teaches the semantic tier: a label for the pair it was compared in, an alias, or an entry of its own.

Runs beside requests, never before one. Knows no provider: it is given a function that asks again.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from msgspec.structs import replace

from gateway.cache.codec import StoredAnswer
from gateway.cache.semantic.events import AskedTwice, Labelled
from gateway.cache.semantic.gate import Doubt, Serve, Withhold, wants_second_look
from gateway.cache.semantic.labels import Compared, compared, text_of
from gateway.cache.semantic.look import Judged, Looked, Place
from gateway.cache.semantic.state import is_frozen
from gateway.cache.semantic.tier import SemanticTier
from gateway.cache.semantic.types import Vector
from gateway.cache.semantic.verifying import AnswerJudge, AskVerifier

_STRANGER: Final = 0.5
"""Questions less near than this have nothing to do with each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A fresh answer and what it cost in nano-dollars. `answer` None: it was none that could serve a question."""

    answer: StoredAnswer | None
    cost_nanousd: int

    @property
    def text(self) -> str | None:
        """The answer's text where it may serve another wording."""
        return None if self.answer is None else text_of(self.answer)


class AskAgain(Protocol):
    """Asks a question of the place once more, in the background, and stores the answer only where told to.

    `text` replaces the question (None: as it was asked).
    """

    def __call__(self, *, text: str | None = None, keep: bool = False) -> Awaitable[Fresh]: ...


class Learner:
    """Turns answers into what every worker will know."""

    def __init__(self, tier: SemanticTier, verify: AskVerifier, judge: AnswerJudge | None = None) -> None:
        self._tier = tier
        self._verify = verify
        self._judge = judge

    async def after_miss(self, looked: Looked, answer: StoredAnswer, again: AskAgain) -> None:
        """Learn from an answer that was made because there was none to serve. Raises StoreUnavailable."""
        place, fresh = looked.place, text_of(answer)
        if place is None or fresh is None:
            return
        key, kept = place.asked.key, answer
        judged = None if looked.judged is None else await self._settled(place, looked.judged)
        if judged is not None and isinstance(judged.decision, Withhold):
            lesson = self._lesson(place, judged, again)
            hit = await self._tier.stored(judged.entry)
            stored = text_of(hit.answer) if hit is not None else None
            different = None if stored is None else await lesson.label(stored, fresh, was_hit=False)
            if hit is not None and different == 0.0:
                key, kept = judged.entry.answer_id, hit.answer  # a paraphrase that proved right: an alias
            if judged.decision.ask_twice:
                await lesson.ask_twice(fresh)
        await self._tier.enter(place, key, kept)

    async def after_hit(self, looked: Looked, again: AskAgain) -> None:
        """Ask anew what was answered from the cache, and learn whether that was right. Raises StoreUnavailable."""
        place, judged, hit = looked.place, looked.judged, looked.hit
        if place is None or judged is None or hit is None or not isinstance(judged.decision, Serve):
            return
        stored = text_of(hit.answer)
        fresh = await again(keep=True)
        if stored is None or fresh.answer is None or fresh.text is None:
            return
        lesson = self._lesson(place, judged, again, spent_nanousd=fresh.cost_nanousd)
        different = await lesson.label(stored, fresh.text, was_hit=True)
        if different == 0.0:
            await self._tier.enter(place, judged.entry.answer_id, hit.answer)
        elif different is not None:
            await self._tier.enter(place, place.asked.key, fresh.answer)

    def _lesson(self, place: Place, judged: Judged, again: AskAgain, *, spent_nanousd: int = 0) -> _Lesson:
        return _Lesson(self._tier, place, judged, asks=(again, self._judge), spent_nanousd=spent_nanousd)

    async def _settled(self, place: Place, judged: Judged) -> Judged:
        """Return a miss's pair with the verifier's word, which comes after the answer or came too late for it."""
        decision = judged.decision
        is_late = judged.pair.verdict == "none"
        if not (isinstance(decision, Doubt) or is_late):
            return judged
        verdict = await self._verify(place, judged.entry, at_most_s=None)
        settled = self._tier.settled(place, judged, verdict)
        if isinstance(settled.decision, Serve):
            late = Withhold(log_odds=settled.decision.log_odds, reason="late", ask_twice=False)
            return replace(settled, decision=late)
        return settled


class _Lesson:
    """One pair being compared, and what that has cost so far."""

    def __init__(
        self,
        tier: SemanticTier,
        place: Place,
        judged: Judged,
        *,
        asks: tuple[AskAgain, AnswerJudge | None],
        spent_nanousd: int,
    ) -> None:
        self._parts = tier.parts
        self._place = place
        self._judged = judged
        self._again, self._judge = asks
        self._spent_nanousd = spent_nanousd

    async def label(self, stored: str, fresh: str, *, was_hit: bool) -> float | None:
        """Compare, twice where it matters, tell the class, and return how different they are; None: nobody knows."""
        decision, found = self._judged.decision, await self._compared(stored, fresh)
        if found is None:
            return None
        different = found.different
        if different >= 0.5 and self._wants_second_look():
            second = await self._second_look(self._judged.entry.text, None)
            different = different if second is None else min(different, second)
        self._place.open_class.note(
            Labelled(
                answer_id=self._judged.entry.answer_id,
                question=self._place.question_id,
                features=self._judged.pair.features,
                log_odds=decision.log_odds,
                different=different,
                was_hit=was_hit,
                at_s=self._parts.clock.now(),
                cost_nanousd=self._take_spent(),
                is_apart=isinstance(decision, Withhold) and decision.is_apart,
            )
        )
        return different

    async def ask_twice(self, first: str) -> None:
        """Ask the same question again: how often the comparators call one question's answers different is noise."""
        second = await self._again()
        self._spent_nanousd += second.cost_nanousd
        found = None if second.text is None else await self._compared(first, second.text)
        if found is None:
            return
        different = found.different
        if different >= 0.5 and self._wants_second_look():
            third = await self._second_look(None, None)
            different = different if third is None else min(different, third)
        self._place.open_class.note(
            AskedTwice(
                different=different,
                at_s=self._parts.clock.now(),
                cost_nanousd=self._take_spent(),
                similarity=found.similarity,
                stranger=self._stranger(found.vector),
            )
        )

    async def _second_look(self, one: str | None, other: str | None) -> float | None:
        """Ask both questions again and compare; None where that could not be done."""
        answers = [await self._again(text=one), await self._again(text=other)]
        self._spent_nanousd += sum(answer.cost_nanousd for answer in answers)
        ours, theirs = (answer.text for answer in answers)
        found = None if ours is None or theirs is None else await self._compared(ours, theirs)
        return None if found is None else found.different

    def _wants_second_look(self) -> bool:
        return self._may_spend() and wants_second_look(self._judged.decision.log_odds)

    def _may_spend(self) -> bool:
        open_class = self._place.open_class
        return not is_frozen(open_class.state, open_class.rules, at_s=self._parts.clock.now())

    async def _compared(self, stored: str, fresh: str) -> Compared | None:
        band = self._place.open_class.state.similarities.band()
        embedder = self._parts.embedder_for(self._place.asked.caller)
        judge, question = self._judge if self._may_spend() else None, self._place.question.text
        found = await compared(stored, fresh, band=band, embedder=embedder, question=question, judge=judge)
        self._spent_nanousd += 0 if judge is None else judge.take_spent()
        return found

    def _stranger(self, vector: Vector | None) -> float | None:
        """Return the cosine to the answer of an unrelated question, and leave this one for the next comparison."""
        if vector is None:
            return None
        open_class, before = self._place.open_class, self._place.open_class.stranger
        open_class.stranger = self._place.vector, vector
        is_unrelated = before is not None and float(before[0] @ self._place.vector) < _STRANGER
        return float(np.dot(before[1], vector)) if before is not None and is_unrelated else None

    def _take_spent(self) -> int:
        spent, self._spent_nanousd = self._spent_nanousd, 0
        return spent
