"""The figures of warming, as they are published: money in USD, times in seconds, every estimate with its interval.

Must not compute; see evaluate.py for the methods.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from warmer.calibration import Reliability
from warmer.intervals import Interval


class PredictorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor, or `all`. `resolved`: of its warms, those known to have been useful or not.

    `precision` is their share of useful ones; `precision_held` the same of keys held out, which nobody warmed, and the
    difference of both says whether the first is to be believed; `precision_watched` is of what was not warmed for other
    reasons. Useful means by the time that was predicted, or later. Misses removed and money are what came of all warms
    so far, also of those whose time is not over.
    """

    name: str
    warms: int
    resolved: int
    useful: int
    precision: Interval
    held: int
    precision_held: Interval
    precision_difference: Interval
    precision_watched: Interval
    misses_removed: Interval
    misses_removed_per_warm: Interval
    cost_usd: float
    wasted_usd: float
    saved_usd: Interval
    net_usd: Interval
    wait_saved_s: Interval
    lead_s: Interval
    reliability: Reliability | None = None


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for keys that were once worth warming: those held out by chance, and the others."""

    keys_held: int
    keys_open: int
    misses_per_request_held: Interval
    misses_per_request_open: Interval
    misses_removed_per_request: Interval


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything from `since_s` to `at_s`. `by_origin`: requests that missed (`miss`), that hit what a user had had
    answered (`user`), or what a predictor, by its name, had had answered. Waits are means."""

    since_s: float
    at_s: float
    requests: int
    by_origin: Mapping[str, int]
    hit_wait_s: float
    miss_wait_s: float
    predictors: tuple[PredictorFigures, ...]
    total: PredictorFigures
    holdout: Holdout
