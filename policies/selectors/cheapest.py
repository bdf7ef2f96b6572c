"""The cheapest expected request first. Must not guess a price: a model without one is left out."""

from __future__ import annotations

from policies.model import ModelCard, Price, Rejection
from policies.ports import Demand, Ordering

EXPECTED_OUTPUT_TOKENS = 512
"""How long an answer is taken to be. Caps are habits (4096, 16384) rather than forecasts, so a higher cap is not
taken for one; a lower cap is."""


def order(cards: tuple[ModelCard, ...], demand: Demand) -> Ordering:
    """Order by expected cost; on a tie the policy's own order holds. Figures are USD."""
    priced: list[tuple[int, str]] = []
    rejected: list[Rejection] = []
    for card in cards:
        if card.price is None:
            detail = f"the price of {card.group!r} is unknown, and this route chooses by cost"
            rejected.append(Rejection(candidate=card.group, code="no_price", detail=detail))
        else:
            priced.append((expected_cost(card, card.price, demand), card.group))
    priced.sort(key=lambda pair: pair[0])
    return Ordering(ranked=tuple((group, _usd(cost)) for cost, group in priced), rejected=tuple(rejected))


def expected_cost(card: ModelCard, price: Price, demand: Demand) -> int:
    """Return pico-dollars for the request, assuming nothing cached and no reasoning.

    Output is taken to be the least of 512 tokens, the request's cap and the model's own; none for embeddings.
    All input is paid at the uncached rate for its size, since what a provider has cached is not known beforehand.
    """
    rates = price.rates(demand.input_tokens)
    output_tokens = 0 if card.mode == "embeddings" else EXPECTED_OUTPUT_TOKENS
    for cap in (demand.max_output_tokens, card.max_output_tokens):
        if cap is not None and cap < output_tokens:
            output_tokens = cap
    return demand.input_tokens * rates.input + output_tokens * rates.output


def _usd(pico_dollars: int) -> str:
    return f"{pico_dollars / 1e12:.9f}".rstrip("0").rstrip(".")
