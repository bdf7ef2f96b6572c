"""A shuffle at the learned arm's cost: what its choices are compared with. Must not look at the question.

Drawing whom the learned arm would have drawn on average, for a question it would not have, is what shows whether it
knows anything (policies.md: the control arm is permanent).
"""

from __future__ import annotations

from policies.expected_cost import by_cost, usd
from policies.model import ModelCard, Rejection
from policies.ports import Demand, Ordering

LEAST_SHARE = 0.1
"""No candidate is drawn more rarely than this against the others: nothing is learnt of a model that is never asked."""


def order(cards: tuple[ModelCard, ...], demand: Demand) -> Ordering:
    """Put the model that `demand.draw` falls on first, then those that reach the floor, by cost; figures are USD.

    Draws by the learned arm's shares, each at least LEAST_SHARE before they are scaled to one. That makes the draw
    dearer or cheaper than the learned arm; the comparison weighs by the true shares and so is at equal cost
    (gateway/knowledge/uplift.py).
    """
    priced, rejected = by_cost(cards, demand)
    figures = {group: usd(cost) for cost, group in priced}
    shares = {group: max(LEAST_SHARE, demand.shares.get(group, 0.0)) for group in figures}
    drawn = _drawn(shares, demand.draw)
    prediction = demand.prediction
    ranked = [drawn] if drawn else []
    for group in figures:
        if group == drawn:
            continue
        if prediction is None or prediction.reaches(group):
            ranked.append(group)
        else:
            detail = f"{group!r} is not known to reach the floor, and only who is drawn need not be"
            rejected.append(Rejection(candidate=group, code="below_floor", detail=detail))
    return Ordering(ranked=tuple((group, figures[group]) for group in ranked), rejected=tuple(rejected))


def _drawn(shares: dict[str, float], draw: float) -> str:
    """Return the group at the place `draw` of [0, 1) on a line of all shares; "" where there are none."""
    left = draw * sum(shares.values())
    last = ""
    for group, share in shares.items():
        last = group
        left -= share
        if left < 0:
            break
    return last
