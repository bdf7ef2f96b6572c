"""The warmer's metrics: pure functions of what a step did and of the account that is kept."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.warming_series import WARMING_LEVELS, Labels, Told
from warmer.figures import Figures, PredictorFigures
from warmer.results import Stepped
from warmer.types import PREDICTOR_NAMES

NANO = 1e-9
_MADE = ("warmed", "not_kept")

FOLLOWS = Told(
    levels=tuple(
        (level.name, labels, 0.0)
        for level in WARMING_LEVELS
        for labels in ([(name,) for name in PREDICTOR_NAMES] if level.labels else [()])
    )
)
"""What a warmer says that does not lead."""


def told_of_step(stepped: Stepped, *, now_s: float, window_events: int) -> Told:
    """Return what a step adds, and how far behind the history it is."""
    behind_s = 0.0 if stepped.is_at_end or stepped.newest_at_s is None else max(0.0, now_s - stepped.newest_at_s)
    counts: list[tuple[str, Labels, float]] = [
        ("foreword_warmer_events", (), stepped.events),
        ("foreword_warmer_displaced", (), len(stepped.displaced)),
    ]
    for one in stepped.considered:
        counts.append(("foreword_warmer_predictions", (one.predictor, one.result), 1))
        if one.result in _MADE:
            counts.append(("foreword_warmer_cost_usd", (one.predictor,), one.cost_nanousd * NANO))
        if one.result == "warmed":
            counts.append(("foreword_warmer_warms", (one.predictor, one.level), 1))
    return Told(
        counts=counts,
        levels=(
            ("foreword_warmer_leader", (), 1.0),
            ("foreword_warmer_lag_seconds", (), behind_s),
            ("foreword_warmer_window_events", (), float(window_events)),
        ),
    )


def told_of_figures(figures: Figures) -> Told:
    """Return what warming was good for, by predictor."""
    known = [one for one in figures.predictors if one.name in PREDICTOR_NAMES]
    return Told(levels=[(name, (one.name,), figure) for one in known for name, figure in _levels(one)])


def _levels(one: PredictorFigures) -> Iterator[tuple[str, float]]:
    low, high = one.precision.bounds
    yield "foreword_warmer_resolved_warms", one.resolved
    yield "foreword_warmer_useful_warms", one.useful
    yield "foreword_warmer_misses_removed", one.misses_removed.value
    yield "foreword_warmer_wasted_usd", one.wasted_usd
    yield "foreword_warmer_net_usd", one.net_usd.value
    yield "foreword_warmer_wait_saved_seconds", one.wait_saved_s.value
    yield "foreword_warmer_precision", one.precision.value
    yield "foreword_warmer_precision_low", max(0.0, low)
    yield "foreword_warmer_precision_high", min(1.0, high)
    yield "foreword_warmer_calibration_error", one.reliability.ece if one.reliability is not None else 0.0
    yield "foreword_warmer_held_out", one.held
