"""What a quality floor and latency limits add to a decision: who decides, what is predicted, who is left out.

Pure. Must not order models: selectors do.
"""

from __future__ import annotations

from policies.arms import arm_of, task_of
from policies.evidence import Arm
from policies.model import Rejection, RouteClass, View
from policies.quality import Prediction, predict
from policies.rules import LatencyRules


def arm_for(route_class: RouteClass, view: View) -> Arm:
    """Return the arm that decides; "" on a route without a floor."""
    rules = route_class.route.knn
    if rules is None or route_class.route.quality is None or route_class.reference is None:
        return ""
    return arm_of(rules, view.evidence, view.draw)


def prediction_for(route_class: RouteClass, view: View, groups: tuple[str, ...], arm: Arm) -> Prediction | None:
    """Predict the quality of `groups`, by the question's neighbours in the learned arm; None without a floor."""
    quality, reference = route_class.route.quality, route_class.reference
    if quality is None or reference is None:
        return None
    return predict(
        groups,
        rules=quality,
        reference=reference,
        priors=route_class.quality_priors,
        task=task_of(route_class.facts),
        evidence=view.evidence,
        use_neighbours=arm == "learned",
    )


def below_floor(route_class: RouteClass, view: View, fallbacks: tuple[str, ...]) -> list[Rejection]:
    """Reject those fallbacks whose predicted mean is under the floor, or of whom nothing is known."""
    prediction = prediction_for(route_class, view, fallbacks, "fixed")
    if prediction is None:
        return []
    detail = "its predicted quality is under the route's floor, and the file does not say below_floor: true"
    return [
        Rejection(candidate=group, code="below_floor", detail=f"{group!r}: {detail}")
        for group in fallbacks
        if not prediction.may_stand_in(group)
    ]


def in_time(rules: LatencyRules, order: list[str], view: View) -> tuple[list[str], list[Rejection]]:
    """Drop whoever was too slow lately, unless everybody was; nobody is judged by figures that are missing."""
    slow = {group: found for group in order if (found := _too_slow(rules, group, view))}
    if len(slow) == len(order):
        return order, []
    rejected = [Rejection(candidate=group, code="too_slow", detail=found) for group, found in slow.items()]
    return [group for group in order if group not in slow], rejected


def _too_slow(rules: LatencyRules, group: str, view: View) -> str:
    figures = view.latency.get(group)
    if figures is None:
        return ""
    for what, most, found in (
        ("first token", rules.p95_first_token_ms, figures.p95_first_token_ms),
        ("whole answer", rules.p95_total_ms, figures.p95_total_ms),
    ):
        if most is not None and found is not None and found > most:
            return f"the p95 of {group!r} to its {what} is {found:.0f} ms, and this route allows {most:.0f} ms"
    return ""
