"""How good an order of prompts is, most in need of the strong model first: RouteLLM's figures with bootstrap intervals.

PGR, APGR and CPT as in RouteLLM (arXiv:2406.18665, section 3): the share of the gap in quality between both models that
is recovered, its mean over all shares of strong calls, and the least share of strong calls that recovers so much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.bench.routing_data import Floats, Prompts

QUALITIES = (0.98, 0.95, 0.90)
_CHUNK = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its 95 % bootstrap interval over prompts."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as `0.603 [0.590, 0.616]`."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def percent(self) -> str:
        """Write it as `36.8 % [35.0, 38.6]`."""
        return f"{self.value:.1%} [{self.low * 100:.1f}, {self.high * 100:.1f}]".replace("%", " %")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The figures of one router; `saved` and `gain` (quality over a random mix of equal cost) follow QUALITIES."""

    router: str
    apgr: Figure
    cpt50: Figure
    cpt80: Figure
    saved: tuple[Figure, ...]
    gain: tuple[Figure, ...]


def curve_of(router: str, prompts: Prompts, score: Floats, *, rounds: int, seed: int) -> Curve:
    """Return the figures of sending prompts to the strong model in falling order of `score`; ties by lot.

    Where all are equal the figures are means over many lots.
    """
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(score)), -score))
    is_lot = bool(np.all(score == score[0]))
    point = _figures(prompts, order, np.ones((1, len(order))))[:, 0]
    drawn = []
    chunk = 1 if is_lot else _CHUNK
    for begin in range(0, rounds, chunk):
        count = min(chunk, rounds - begin)
        if is_lot:
            order = rng.permutation(len(score))
        weights = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size=count).astype(np.float64)
        drawn.append(_figures(prompts, order, weights))
    if is_lot:
        point = np.nanmean(np.concatenate(drawn, axis=1), axis=1)
    low, high = np.nanpercentile(np.concatenate(drawn, axis=1), [2.5, 97.5], axis=1)
    figures = [Figure(value=float(v), low=float(a), high=float(b)) for v, a, b in zip(point, low, high, strict=True)]
    n = len(QUALITIES)
    return Curve(
        router=router,
        apgr=figures[0],
        cpt50=figures[1],
        cpt80=figures[2],
        saved=tuple(figures[3 : 3 + n]),
        gain=tuple(figures[3 + n : 3 + 2 * n]),
    )


def path_of(prompts: Prompts, score: Floats, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Return (share of the strong model's cost, share of its quality) along the curve, for a plot."""
    order = np.lexsort((np.random.default_rng(seed).random(len(score)), -score))
    cost = prompts.weak_usd.sum() + _cumulated((prompts.strong_usd - prompts.weak_usd)[order][None, :])[0]
    quality = prompts.weak.sum() + _cumulated(prompts.gap[order][None, :])[0]
    return cost / prompts.strong_usd.sum(), quality / prompts.strong.sum()


def _figures(prompts: Prompts, order: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """Return float64[3 + 2 len(QUALITIES), rounds]: a column for each row of weights over the ordered prompts."""
    gap, strong, weak = prompts.gap[order], prompts.strong[order], prompts.weak[order]
    dear, cheap = prompts.strong_usd[order], prompts.weak_usd[order]
    calls = _cumulated(weights) / weights.sum(axis=1, keepdims=True)
    won = _cumulated(weights * gap)
    recovered = won / won[:, -1:]
    best = (weights * strong).sum(axis=1)
    worst = (weights * weak).sum(axis=1)
    highest, lowest = (weights * dear).sum(axis=1), (weights * cheap).sum(axis=1)
    cost = lowest[:, None] + _cumulated(weights * (dear - cheap))
    rows = [np.trapezoid(recovered, calls, axis=1), *(_first(calls, recovered >= share) for share in (0.5, 0.8))]
    saved, gains = [], []
    for share in QUALITIES:
        quality = worst[:, None] + won
        paid = _first(cost, quality >= share * best[:, None] - 1e-9)
        saved.append(1 - paid / highest)
        mixed = worst + (best - worst) * (paid - lowest) / (highest - lowest)
        reached = _first(quality, quality >= share * best[:, None] - 1e-9)
        gains.append((reached - mixed) / weights.sum(axis=1))
    return np.array([*rows, *saved, *gains])


def _cumulated(values: Floats) -> Floats:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _first(values: Floats, holds: npt.NDArray[np.bool_]) -> Floats:
    """Return each row's value at the first place that holds; every row has one, its last."""
    found: Floats = np.take_along_axis(values, np.argmax(holds, axis=1)[:, None], axis=1)[:, 0]
    return found
