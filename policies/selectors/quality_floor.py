"""The cheapest model whose predicted quality is sure to reach the floor. Must not weigh quality against cost."""

from __future__ import annotations

from policies.expected_cost import by_cost, usd
from policies.model import ModelCard, Rejection
from policies.ports import Demand, Ordering


def order(cards: tuple[ModelCard, ...], demand: Demand) -> Ordering:
    """Order by expected cost those that reach `demand.prediction`'s floor; figures are USD.

    Whoever does not reach it, or is not known to, is left out: where nobody else does, the reference remains. Without
    a prediction (a route without a floor) everybody reaches it.
    """
    prediction = demand.prediction
    priced, rejected = by_cost(cards, demand)
    ranked: list[tuple[str, str]] = []
    for cost, group in priced:
        if prediction is None or prediction.reaches(group):
            ranked.append((group, usd(cost)))
            continue
        found = prediction.by_group[group]
        low = f"at least {found.low(prediction.rules.confidence):.3f}" if found.is_known else "unknown"
        detail = f"the quality of {group!r} here is {low}, and this route wants {prediction.wanted:.3f}"
        rejected.append(Rejection(candidate=group, code="below_floor", detail=detail))
    return Ordering(ranked=tuple(ranked), rejected=tuple(rejected))
