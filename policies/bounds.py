"""The most that a plan can cost, from the most tokens that its request can take. Pure.

True upper bounds: every attempt may be billed in full, cache writes and reasoning are paid at the dearest rate. What
has no bound (an unknown price, no output cap) has None. Must not see the request: gateway/budgets/bound.py measures it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from policies.model import Catalogue, Dialect, ModelCard
from policies.prices import Rates


class Size(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The most tokens one leg may read, and give for each of `choices`; `output` None: nobody set a cap."""

    input: int
    output: int | None
    choices: int

    @property
    def tokens(self) -> int:
        """The most that a leg can take of a limit on tokens."""
        return self.input + (self.output or 0) * self.choices


def size_with(input_tokens: int, *, output_cap: int | None, choices: int, dialect: Dialect) -> Size:
    """Return the most that a leg may take which reads so many tokens of its request and may answer with `output_cap`.

    A leg that continues a cut answer reads what was written so far as well: the cap is added to the input.
    """
    most = input_tokens + output_cap if output_cap else input_tokens
    return Size(input=most, output=0 if dialect == "embeddings" else output_cap, choices=choices)


class Charge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The most that a model charges, in pico-dollars: per input token, per output token; `cap` output tokens at most.

    `above`: (input tokens, dearest input, dearest output) of the rates that a longer prompt pays.
    """

    input: int
    output: int
    cap: int | None
    above: tuple[tuple[int, int, int], ...]


Charges = tuple[Charge, ...]


def charges_of(groups: Iterable[str], catalogue: Catalogue) -> Charges | None:
    """Return what each of `groups` charges at most; None where one of them is not here or has no known price."""
    found = []
    for group in groups:
        card = catalogue.get(group)
        charge = None if card is None else _charge(card)
        if charge is None:
            return None
        found.append(charge)
    return tuple(found)


def most_nanousd(charges: Charges | None, size: Size | None, attempts: int) -> int | None:
    """Return the most that so many attempts can cost, each at any of the models; None where one has no bound."""
    if charges is None or size is None:
        return None
    into, output, choices, dearest = size.input, size.output, size.choices, 0
    for charge in charges:
        out = charge.cap if output is None else output
        if out is None:
            return None
        if choices != 1:
            out *= choices
        pico = into * charge.input + out * charge.output
        if charge.above:
            for above, input_rate, output_rate in charge.above:
                if into > above:
                    pico = max(pico, into * input_rate + out * output_rate)
        if pico > dearest:  # noqa: PLR1730 - max() costs four times as much
            dearest = pico
    return (dearest + 999) // 1000 * attempts


def leg_nanousd(card: ModelCard, size: Size) -> int | None:
    """Return the most one attempt at `card` can cost, in nano-dollars rounded up; None where it has no bound."""
    charge = _charge(card)
    return None if charge is None else most_nanousd((charge,), size, 1)


def plan_nanousd(groups: Iterable[str], catalogue: Catalogue, size: Size | None, *, attempts: int) -> int | None:
    """Return the most that `attempts` attempts at any of `groups` can cost; None where one of them has no bound."""
    return most_nanousd(charges_of(groups, catalogue), size, attempts)


def _charge(card: ModelCard) -> Charge | None:
    price = card.price
    if price is None:
        return None
    into, out = _dearest(price.base)
    above = tuple((limit, *_dearest(rates)) for limit, rates in price.above)
    return Charge(input=into, output=out, cap=card.max_output_tokens, above=above)


def _dearest(rates: Rates) -> tuple[int, int]:
    return max(rates.input, rates.cached_input, rates.cache_write), max(rates.output, rates.reasoning)
