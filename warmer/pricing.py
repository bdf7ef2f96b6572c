"""Prices what is predicted, the most probable first, and remembers for a while what was not worth it. Must not
spend."""

from __future__ import annotations

from warmer.choosing import Priced, priced
from warmer.learner import Learner, Scored
from warmer.ports import Asker
from warmer.results import Considered, Result
from warmer.trials import Trials
from warmer.types import Terms

_DECLINED = 4096
_DECLINED_S = 600.0
_BRIEF_S = 60.0
_CROWDED_S = 1.0
_FINAL: frozenset[Result] = frozenset({"not_asked", "not_kept"})
_LEAST_CHANCE = 0.02
_SURER = 1.1
"""What is so much more probable than when it was declined is priced again at once."""


class Pricing:
    """Asks for prices, at most so many a step."""

    def __init__(self, asker: Asker, *, quotes_per_step: int) -> None:
        self._asker = asker
        self._quotes_per_step = quotes_per_step
        self._declined: dict[tuple[str, str], tuple[float, float]] = {}

    async def price(
        self, learner: Learner, terms: Terms, *, trials: Trials, now_s: float
    ) -> tuple[list[Priced], list[Considered]]:
        """Return what is worth it, and why the rest that was looked at is not."""
        found: list[Priced] = []
        considered: list[Considered] = []
        quotes = 0
        for scored in learner.predict(now_s):
            if quotes >= self._quotes_per_step or scored.probability < _LEAST_CHANCE:
                break
            if self._is_declined(learner.tenant, scored, now_s):
                continue
            quotes += 1
            quote = await self._asker.quote(learner.tenant, scored.prediction.recipe)
            result = "unknown" if quote is None else priced(scored, quote, terms, now_s)
            if isinstance(result, Priced):
                if not trials.has_prefix(result.name, now_s):
                    found.append(result)
                continue
            until_s = now_s + _DECLINED_S
            if quote is not None and result == "fresh":
                learner.keep(quote.key, quote.fresh_until_s)
                until_s = min(until_s, quote.fresh_until_s)
                if quote.fresh_until_s >= scored.prediction.until_s:
                    learner.done(scored.target)
            self.decline(learner.tenant, scored.target, until_s=until_s, probability=scored.probability)
            considered.append(considered_as(scored, result, key="" if quote is None else quote.key))
        return found, considered

    def _is_declined(self, tenant: str, scored: Scored, now_s: float) -> bool:
        until_s, probability = self._declined.get((tenant, scored.target), (0.0, 0.0))
        return now_s < until_s and scored.probability <= _SURER * probability

    def decline(self, tenant: str, target: str, *, until_s: float, probability: float) -> None:
        """Price `target` again only after `until_s`, or when it has become surer."""
        self._declined.pop((tenant, target), None)
        self._declined[tenant, target] = (until_s, probability)
        if len(self._declined) > _DECLINED:
            del self._declined[next(iter(self._declined))]

    def put_off(self, learner: Learner, scored: Scored, now_s: float, *, why: Result) -> None:
        """Let what could not be asked, or was not kept, alone for a while; briefly where that may soon be different."""
        span_s = _CROWDED_S if why == "no_room" else _DECLINED_S if why in _FINAL else _BRIEF_S
        self.decline(learner.tenant, scored.target, until_s=now_s + span_s, probability=1.0)


def considered_as(scored: Scored, result: Result, *, key: str, cost_nanousd: int = 0) -> Considered:
    """Return what came of a prediction."""
    prediction = scored.prediction
    return Considered(
        tenant=prediction.tenant,
        recipe=prediction.recipe,
        predictor=prediction.predictor,
        level=prediction.level,
        result=result,
        probability=scored.probability,
        key=key,
        cost_nanousd=cost_nanousd,
    )
