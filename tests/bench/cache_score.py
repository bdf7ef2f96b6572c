"""What a run was worth: hits, wrong hits per hit and per request, with intervals, by reading and by the hidden truth.

Must not know how a hit came about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.bench.cache_data import Adjudicated, Stream
from tests.bench.cache_run import Run
from tests.bench.cache_truth import fold_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Shares. The intervals are 95 % two-sided, Clopper-Pearson at Kish's effective size where rows are weighted.

    `read` is how many read pairs were hits, `read_wrong` of them wrong, `unread` hits of read requests whose entry was
    another one than was read (left out).
    """

    hits: float
    wrong_per_hit: float
    wrong_per_hit_interval: tuple[float, float]
    wrong_per_request: float
    wrong_per_request_interval: tuple[float, float]
    read: int = 0
    read_wrong: int = 0
    unread: int = 0


def score_hidden(runs: Sequence[Run]) -> Score:
    """Score every hit of the runs by the truth that the labels came from."""
    hits = sum(run.hits for run in runs)
    wrong = sum(int(run.is_wrong.sum()) for run in runs)
    requests = sum(len(run.entry) for run in runs)
    # Runs of folds are the same stream: they count once for the interval.
    low, high = clopper_pearson(wrong / len(runs), hits / len(runs))
    share = hits / requests
    return Score(
        hits=share,
        wrong_per_hit=wrong / hits if hits else 0.0,
        wrong_per_hit_interval=(low, high),
        wrong_per_request=wrong / requests,
        wrong_per_request_interval=(low * share, high * share),
    )


def score_read(stream: Stream, read: Sequence[Adjudicated], runs: Sequence[Run]) -> Score:
    """Score by the read pairs: each in the run of its own fold (one run: it serves for all folds)."""
    rows = {origin: row for row, origin in enumerate(stream.origin)}
    weights: list[float] = []
    wrong: list[bool] = []
    unread = 0
    for at, pair in enumerate(read):
        run = runs[fold_of(at) % len(runs)]
        row = rows.get(pair.request)
        if row is None or run.entry[row] < 0:
            continue
        if stream.origin[run.entry[row]] != pair.neighbour:
            unread += 1
            continue
        weights.append(pair.weight)
        wrong.append(not (pair.is_right and bool(run.chain[run.entry[row]])))
    share = sum(run.hits for run in runs) / sum(len(run.entry) for run in runs)
    weight, is_wrong = np.array(weights, np.float64), np.array(wrong, np.float64)
    rate = float((weight * is_wrong).sum() / weight.sum()) if weights else 0.0
    effective = float(weight.sum() ** 2 / (weight**2).sum()) if weights else 0.0
    low, high = clopper_pearson(rate * effective, effective)
    return Score(
        hits=share,
        wrong_per_hit=rate,
        wrong_per_hit_interval=(low, high),
        wrong_per_request=rate * share,
        wrong_per_request_interval=(low * share, high * share),
        read=len(wrong),
        read_wrong=int(is_wrong.sum()),
        unread=unread,
    )


def clopper_pearson(successes: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval for a rate; counts may be fractions (effective sizes)."""
    if trials <= 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else _beta_quantile(successes, trials - successes + 1, tail)
    high = 1.0 if successes >= trials else _beta_quantile(successes + 1, trials - successes, 1 - tail)
    return low, high


def _beta_quantile(a: float, b: float, share: float) -> float:
    """Return the quantile of Beta(a, b) by summing its density; good to about 1e-5."""
    mean, spread = a / (a + b), math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    grid: Floats = np.linspace(max(1e-12, mean - 8 * spread), min(1 - 1e-12, mean + 12 * spread), 20_001)
    log_density = (a - 1) * np.log(grid) + (b - 1) * np.log1p(-grid)
    mass = np.cumsum(np.exp(log_density - np.max(log_density)))
    return float(grid[np.searchsorted(mass, share * mass[-1])])
