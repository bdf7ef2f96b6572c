"""What a request is expected to cost at a model, for selectors that order by it. Must not guess a price."""

from __future__ import annotations

from policies.model import ModelCard, Rejection
from policies.ports import Demand
from policies.prices import Price

EXPECTED_OUTPUT_TOKENS = 512
"""How long an answer is taken to be. Caps are habits (4096, 16384) rather than forecasts, so a higher cap is not
taken for one; a lower cap is."""

Priced = tuple[int, str]
"""Pico-dollars, and the group."""


def by_cost(cards: tuple[ModelCard, ...], demand: Demand) -> tuple[list[Priced], list[Rejection]]:
    """Order by expected cost, on a tie as given; models without a price are left out, and that is said."""
    priced: list[Priced] = []
    rejected: list[Rejection] = []
    for card in cards:
        if card.price is None:
            detail = f"the price of {card.group!r} is unknown, and this route chooses by cost"
            rejected.append(Rejection(candidate=card.group, code="no_price", detail=detail))
        else:
            priced.append((expected_cost(card, card.price, demand), card.group))
    priced.sort(key=lambda pair: pair[0])
    return priced, rejected


def expected_cost(card: ModelCard, price: Price, demand: Demand) -> int:
    """Return pico-dollars for the request, assuming no reasoning, and only that cached which `demand.warm` says.

    Output is taken to be the least of 512 tokens, the request's cap and the model's own; none for embeddings.
    Whoever has the beginning warm pays its cached rate for it, so that leaving it is charged to all others.
    """
    rates = price.rates(demand.input_tokens)
    output_tokens = 0 if card.mode == "embeddings" else EXPECTED_OUTPUT_TOKENS
    for cap in (demand.max_output_tokens, card.max_output_tokens):
        if cap is not None and cap < output_tokens:
            output_tokens = cap
    warm = demand.warm
    cached_tokens = min(warm.tokens, demand.input_tokens) if warm is not None and warm.group == card.group else 0
    return (
        (demand.input_tokens - cached_tokens) * rates.input
        + cached_tokens * rates.cached_input
        + output_tokens * rates.output
    )


def usd(pico_dollars: int) -> str:
    """Write an amount for a reason: plain USD, no exponent."""
    return f"{pico_dollars / 1e12:.9f}".rstrip("0").rstrip(".")
