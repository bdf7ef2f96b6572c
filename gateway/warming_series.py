"""The warmer's metric series and what is to be said in them, as plain data; predictors are a closed set.

Counters are of this process. Levels are the leader's account, which outlives restarts; a process that does not lead
says 0 everywhere, so that the largest of all replicas is the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from gateway.series_kinds import Level, Series
from warmer.results import Result
from warmer.types import LEVELS, PREDICTOR_NAMES

Labels = tuple[str, ...]
_BY = ("predictor",)

WARMING_COUNTERS = (
    Series("foreword_warmer_events", "Ledger entries that the warmer has recorded"),
    Series(
        "foreword_warmer_predictions", "Predictions that were priced, and what came of them", ("predictor", "result")
    ),
    Series("foreword_warmer_warms", "Answers and prefixes that the warmer has made", ("predictor", "level")),
    Series("foreword_warmer_cost_usd", "Spent on warming, in USD", _BY),
    Series("foreword_warmer_displaced", "Unused warmed answers that made room for others"),
    Series("foreword_warmer_stopped", "Calls given up because warming was switched off or another warmer leads"),
)
WARMING_LEVELS = (
    Level("foreword_warmer_leader", "1 in the warmer that leads"),
    Level("foreword_warmer_lag_seconds", "How far behind the newest ledger entry the warmer is"),
    Level("foreword_warmer_window_events", "Events that the warmer remembers"),
    Level("foreword_warmer_resolved_warms", "Warms of which it is known whether they were useful", _BY),
    Level("foreword_warmer_useful_warms", "Warms that removed a miss", _BY),
    Level("foreword_warmer_misses_removed", "Misses that there would have been without warming", _BY),
    Level("foreword_warmer_wasted_usd", "Spent on warms that removed no miss, in USD", _BY),
    Level("foreword_warmer_net_usd", "Saved less spent by warming, in USD", _BY),
    Level("foreword_warmer_wait_saved_seconds", "Waiting that warming saved users", _BY),
    Level("foreword_warmer_precision", "Share of warms that were useful", _BY),
    Level("foreword_warmer_precision_low", "Its lower 95 % confidence bound", _BY),
    Level("foreword_warmer_precision_high", "Its upper 95 % confidence bound", _BY),
    Level("foreword_warmer_calibration_error", "Expected error of the chances given, 0 to 1", _BY),
    Level("foreword_warmer_held_out", "Times that a key worth warming was held out", _BY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What to add to counters and to set levels to: (series, labels, figure)."""

    counts: Sequence[tuple[str, Labels, float]] = ()
    levels: Sequence[tuple[str, Labels, float]] = ()


def warming_zeros() -> Iterator[tuple[str, Labels]]:
    """Yield the counters that are to exist at zero."""
    for name in ("foreword_warmer_events", "foreword_warmer_displaced", "foreword_warmer_stopped"):
        yield name, ()
    for predictor in PREDICTOR_NAMES:
        yield "foreword_warmer_cost_usd", (predictor,)
        yield from (("foreword_warmer_predictions", (predictor, result)) for result in get_args(Result))
        yield from (("foreword_warmer_warms", (predictor, level)) for level in LEVELS)


def warming_level_zeros() -> Iterator[tuple[str, Labels]]:
    """Yield the same for gauges with labels."""
    for level in WARMING_LEVELS:
        if level.labels == _BY:
            yield from ((level.name, (predictor,)) for predictor in PREDICTOR_NAMES)
