"""What a model charges, in integers. Looks nothing up: router/cost.py reads LiteLLM's map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Prices in pico-dollars per token (1 USD per million tokens = 1_000_000).

    Pico, not nano: published prices such as 0.0375 USD per million cached tokens are no whole
    nano-dollars. Amounts, once multiplied by tokens, are rounded up to whole nano-dollars.
    """

    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model charges: base rates, and dearer rates above some prompt sizes.

    `above` holds (input_tokens, rates): the rates that replace `base` for a whole request whose
    input has more than that many tokens, smallest threshold first. `tiers` are the prices of other service tiers
    (`flex`, `priority`), where they have any.
    """

    base: Rates
    above: tuple[tuple[int, Rates], ...] = ()
    tiers: Mapping[str, Price] = field(default_factory=dict)

    def tier(self, name: str) -> Price:
        """Return the price of a service tier, this one where it has no price of its own."""
        return self.tiers.get(name, self)

    def rates(self, input_tokens: int) -> Rates:
        """Return the rates that apply to a request of `input_tokens`."""
        applicable = self.base
        for threshold, rates in self.above:
            if input_tokens > threshold:
                applicable = rates
        return applicable
