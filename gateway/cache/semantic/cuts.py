"""The fixed grid of cuts on P(right), what was seen above each within the window, and which of them keep the bound.

Pure. The cut adapts, so every cut of the grid is tested all the time: with e-values, at levels that add up to 5 %, half
of it on the cut that experience says will be the one. A cut that has passed hands its level to the next lower one (the
fallback procedure, Wiens and Dmitrienko 2005; for e-processes the levels may be looked at whenever one likes), so that
95 % confidence holds for whichever cut is served. Must not know modes, budgets or what a score is made of.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.cache.semantic.bound import ALPHA, Counts, Evidence, Stratum, estimate, log_evidence, upper_bound

WRONG_AT_CUT: Final = (0.5, 0.4, 0.3, 0.25, 0.2, 0.16, 0.13, 0.1, 0.08, 0.06, 0.045, 0.033, 0.024, 0.017, 0.012, 0.008)
"""1 - P(right) at each cut, the lowest cut first."""
CUTS: Final = tuple(math.log((1 - wrong) / wrong) for wrong in WRONG_AT_CUT)
"""The same as log odds of right, ascending."""
WINDOW_LABELS: Final = 4000
"""A window ends here; the next one was begun at its half, so that a window in use holds 2,000 to 4,000 labels."""
PROMISING: Final = 4
"""The cut from which labels count toward the window's end, and are worth a second look: P(right) of 0.8."""
_LIKELY: Final = 2.0
"""Hits at the cut are about so many times worse than the average above it."""

_SHARE_OF_LIKELY: Final = 0.8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Counts by bin, bin k from cut k up to the next: pairs, labels of them, and how much those called different.

    float64[len(CUTS)] each, never written to. `requests` are all that were looked up, with a near neighbour or without.
    """

    pairs: Floats
    labels: Floats
    wrong: Floats
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rolling:
    """The window in use and the one that will replace it."""

    current: Window
    following: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingCounts:
    """The comparators' verdicts on one question asked twice: the window in use and the one that will replace it."""

    current: Counts = field(default_factory=Counts)
    following: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a class may get wrong: shares of hits and of requests."""

    wrong_per_hit: float
    wrong_per_request: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A cut that keeps the promise, proven at `level` (its own and what the cuts above handed down)."""

    cut: int
    level: float


def empty_window() -> Window:
    """Return a window in which nothing was seen."""
    nothing = np.zeros(len(CUTS))
    return Window(pairs=nothing, labels=nothing, wrong=nothing)


def empty() -> Rolling:
    """Return windows in which nothing was seen."""
    return Rolling(current=empty_window(), following=empty_window())


def bin_of(log_odds: float) -> int:
    """Return the highest cut that `log_odds` reaches, -1 below all."""
    return bisect.bisect_right(CUTS, log_odds) - 1


def with_label(windows: Rolling, log_odds: float, different: float, *, is_new_pair: bool) -> Rolling:
    """Return the windows after a label; `is_new_pair` where `with_hits` has not counted its pair already."""
    at = bin_of(log_odds)
    if at < 0:
        return windows
    seen = np.zeros(len(CUTS))
    seen[at] = 1.0
    current = _plus(windows.current, pairs=seen * is_new_pair, labels=seen, wrong=seen * different)
    following = windows.following
    if _is_half_full(current):
        following = _plus(following, pairs=seen * is_new_pair, labels=seen, wrong=seen * different)
    if current.labels[PROMISING:].sum() >= WINDOW_LABELS:
        return Rolling(current=following, following=empty_window())
    return Rolling(current=current, following=following)


def with_requests(windows: Rolling, requests: int, hits: Floats) -> Rolling:
    """Return the windows after `requests`, of which `hits` float64[len(CUTS)] by bin were hits."""
    current = replace(_plus(windows.current, pairs=hits), requests=windows.current.requests + requests)
    following = windows.following
    if _is_half_full(current):
        following = replace(_plus(following, pairs=hits), requests=following.requests + requests)
    return Rolling(current=current, following=following)


def with_floor(floors: RollingCounts, different: float) -> RollingCounts:
    """Return the floor's counts after one question was asked twice."""
    current = _one_more(floors.current, different)
    following = floors.following
    if current.labels > WINDOW_LABELS / 2:
        following = _one_more(following, different)
    if current.labels >= WINDOW_LABELS:
        return RollingCounts(current=following)
    return RollingCounts(current=current, following=following)


def evidence_above(window: Window, cut: int, *, served_from: int | None, floor: Counts) -> Evidence:
    """Return what is known above `cut` while pairs from cut `served_from` up are served (None: none is)."""
    boundary = len(CUTS) if served_from is None else max(cut, served_from)
    return Evidence(served=_stratum(window, boundary, len(CUTS)), withheld=_stratum(window, cut, boundary), floor=floor)


def allowed(window: Window, cut: int, promise: Promise) -> float:
    """Return the wrong hits per hit that keep both bounds, if everything above `cut` is served."""
    pairs = float(window.pairs[cut:].sum())
    return min(promise.wrong_per_hit, promise.wrong_per_request * max(window.requests, pairs) / max(pairs, 1.0))


def lowest_kept(window: Window, promise: Promise, *, served_from: int | None, floor: Counts) -> Kept | None:
    """Return the lowest cut that keeps the promise with 95 % confidence, None where none does."""
    found: Kept | None = None
    handed_down = 0.0
    levels = _levels(promise)
    for cut in reversed(range(len(CUTS))):
        level = levels[cut] + handed_down
        evidence = evidence_above(window, cut, served_from=served_from, floor=floor)
        limit = allowed(window, cut, promise)
        # A best guess above the limit cannot pass: most cuts end here, without the arithmetic.
        is_kept = estimate(evidence) < limit and log_evidence(evidence, limit) >= math.log(1 / level)
        # A range of scores that no label comes from is not served on the strength of those above it.
        found = Kept(cut=cut, level=level) if is_kept and window.labels[cut] else found
        handed_down = level if is_kept else 0.0
    return found


def upper_bound_above(
    window: Window, cut: int, promise: Promise, *, floor: Counts, level: float | None = None
) -> tuple[float, float]:
    """Return the best guess of wrong hits per hit above `cut`, and its upper bound at `level` (None: the cut's own)."""
    evidence = evidence_above(window, cut, served_from=cut, floor=floor)
    return estimate(evidence), upper_bound(evidence, alpha=level or _levels(promise)[cut])


def likely_cut(promise: Promise) -> int:
    """Return the cut that will probably keep the promise, before anything was seen."""
    return min(range(len(CUTS)), key=lambda cut: abs(WRONG_AT_CUT[cut] - _LIKELY * promise.wrong_per_hit))


def _levels(promise: Promise) -> tuple[float, ...]:
    likely = likely_cut(promise)
    other = ALPHA * (1 - _SHARE_OF_LIKELY) / (len(CUTS) - 1)
    return tuple(ALPHA * _SHARE_OF_LIKELY if cut == likely else other for cut in range(len(CUTS)))


def _is_half_full(window: Window) -> bool:
    return float(window.labels[PROMISING:].sum()) >= WINDOW_LABELS / 2


def _stratum(window: Window, low: int, high: int) -> Stratum:
    seen = Counts(labels=round(float(window.labels[low:high].sum())), wrong=float(window.wrong[low:high].sum()))
    return Stratum(pairs=round(float(window.pairs[low:high].sum())), seen=seen)


def _plus(window: Window, *, pairs: Floats, labels: Floats | None = None, wrong: Floats | None = None) -> Window:
    return replace(
        window,
        pairs=window.pairs + pairs,
        labels=window.labels if labels is None else window.labels + labels,
        wrong=window.wrong if wrong is None else window.wrong + wrong,
    )


def _one_more(counts: Counts, different: float) -> Counts:
    return Counts(labels=counts.labels + 1, wrong=counts.wrong + different)
