"""What a warm is worth: money and waiting saved times their chance, less its price; pure.

With fill-on-miss a useful warm saves exactly one miss. So gain = p·(live + wait·value) - warm: at full price and with
no value for waiting it is never above zero, and nothing is chosen.

Where requests recur, a miss buys something too: an answer that is good from the request on, not from the warm on. With
x = λ·ttl = -ln(1 - p) an answer lasts ttl + 1/λ where requests have it made, and ttl where warms do: a warm removes
x / (1 + x) misses in the long run, less than p. At half price it pays from p = 0.63 on, not from 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from warmer.types import Level, Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """An answer is wanted with `probability` in the `horizon_s` from now; at a known time (`is_dated`), or any
    time; again and again (`is_recurring`), or once."""

    probability: float
    horizon_s: float
    due_in_s: float = 0.0
    is_dated: bool = False
    is_recurring: bool = False

    def within(self, span_s: float) -> float:
        """Return the chance that it is wanted in the next `span_s`: at a constant rate, unless the time is known."""
        if span_s <= 0:
            return 0.0
        if span_s >= self.horizon_s or self.horizon_s <= 0:
            return self.probability
        if self.is_dated:
            return self.probability if span_s >= self.due_in_s else 0.0
        if self.probability >= 1.0:
            return 1.0
        return -math.expm1(math.log1p(-self.probability) * span_s / self.horizon_s)

    def removed(self, span_s: float) -> float:
        """Return the misses that an answer which is good for `span_s` removes."""
        probability = self.within(span_s)
        if not self.is_recurring or probability >= 1.0:
            return probability
        expected = -math.log1p(-probability)
        return expected / (1.0 + expected)

    def break_even(self, ratio: float) -> float:
        """Return the chance at which a warm at this price ratio is worth nothing; 1 where none is enough."""
        if ratio >= 1.0:
            return 1.0
        return -math.expm1(-ratio / (1.0 - ratio)) if self.is_recurring else ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is best done for one prediction. `ratio` is the chance at which it would be worth nothing.

    `saves_nanousd` is what a live call then costs less; `value` the gain for each dollar spent.
    """

    level: Level
    probability: float
    cost_nanousd: int
    saves_nanousd: int
    saves_wait_s: float
    ttl_s: float
    gain_nanousd: float
    ratio: float

    @property
    def value(self) -> float:
        """The gain per dollar."""
        return self.gain_nanousd / max(1, self.cost_nanousd)


def answer(chance: Chance, quote: Quote, *, wait_value_nanousd: int) -> Choice:
    """Return what making the whole answer comes to; `wait_value_nanousd` is of a second."""
    worth = quote.live_nanousd + wait_value_nanousd * quote.wait_s
    return Choice(
        level="answer",
        probability=chance.within(quote.ttl_s),
        cost_nanousd=quote.warm_nanousd,
        saves_nanousd=quote.live_nanousd,
        saves_wait_s=quote.wait_s,
        ttl_s=quote.ttl_s,
        gain_nanousd=chance.removed(quote.ttl_s) * worth - quote.warm_nanousd,
        ratio=chance.break_even(_ratio(quote.warm_nanousd, worth)),
    )


def prefix(chance: Chance, quote: Quote) -> Choice | None:
    """Return what making the provider read the prompt comes to, None where there is no such thing.

    How much sooner an answer then begins is not quoted, so waiting counts for nothing.
    """
    if not quote.prefix_ttl_s:
        return None
    probability = chance.within(quote.prefix_ttl_s)
    return Choice(
        level="prefix",
        probability=probability,
        cost_nanousd=quote.prefix_nanousd,
        saves_nanousd=quote.prefix_saved_nanousd,
        saves_wait_s=0.0,
        ttl_s=quote.prefix_ttl_s,
        gain_nanousd=probability * quote.prefix_saved_nanousd - quote.prefix_nanousd,
        ratio=_ratio(quote.prefix_nanousd, quote.prefix_saved_nanousd),
    )


def best(chance: Chance, quote: Quote, *, level: Level, wait_value_nanousd: int) -> Choice | None:
    """Return the better of the two by gain, of level `prefix` that alone; None where none is above zero."""
    choices = [prefix(chance, quote)]
    if level == "answer":
        choices.append(answer(chance, quote, wait_value_nanousd=wait_value_nanousd))
    worthwhile = [one for one in choices if one is not None and one.gain_nanousd > 0]
    return max(worthwhile, key=lambda one: one.gain_nanousd, default=None)


def _ratio(cost_nanousd: float, worth_nanousd: float) -> float:
    return cost_nanousd / worth_nanousd if worth_nanousd > 0 else math.inf
