"""The cheapest expected request first. Must not guess a price: a model without one is left out."""

from __future__ import annotations

from policies.expected_cost import by_cost, usd
from policies.model import ModelCard
from policies.ports import Demand, Ordering


def order(cards: tuple[ModelCard, ...], demand: Demand) -> Ordering:
    """Order by expected cost; on a tie the policy's own order holds. Figures are USD."""
    priced, rejected = by_cost(cards, demand)
    return Ordering(ranked=tuple((group, usd(cost)) for cost, group in priced), rejected=tuple(rejected))
