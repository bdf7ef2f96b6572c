"""P(a stored answer would be right) from what is known of a pair of questions, learned one label at a time.

Pure: every update returns new values. Must not choose what to serve, nor know where features come from.

Pooled: Bayesian logistic regression by one Newton step a label (an extended Kalman filter; a Laplace approximation at
the new mean), its memory fading so that it follows drift. The likelihood knows that labels err: a right pair is called
different with probability `noise`, so the model answers for the truth and not for the label. Per answer: two numbers (a
shift and a factor on the log odds) with a Gaussian prior at "as the pool says", fitted to that answer's own labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MEMORY: Final = 20_000
"""Labels after which the past counts for 1/e."""
_PRIOR_SD: Final = 1.0
_STEEPEST: Final = 12.0
"""Log odds beyond this are not believed."""
_SHIFT_PRECISION: Final = 1 / 1.0**2
_FACTOR_PRECISION: Final = 1 / 0.3**2
"""Prior of an answer's own shift and factor: standard deviations of 1 and 0.3."""
_NEWTON_STEPS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pooled:
    """A Gaussian over the weights: `mean` float64[d], `covariance` float64[d, d]. Never written to."""

    mean: Floats
    covariance: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One label of one answer: the pool's log odds at the time, and how right the answer was, 0 to 1."""

    log_odds: float
    right: float


def untaught(prior_mean: Sequence[float]) -> Pooled:
    """Return a model that believes `prior_mean` within a standard deviation of 1 a weight."""
    mean = np.array(prior_mean, dtype=np.float64)
    return Pooled(mean=mean, covariance=np.eye(mean.size) * _PRIOR_SD**2)


def log_odds(model: Pooled, features: Floats) -> float:
    """Return the log odds of right for float64[d] features, drawn toward 0 by what is not known yet (MacKay 1992)."""
    centre = float(features @ model.mean)
    variance = float(features @ model.covariance @ features)
    return _clipped(centre / math.sqrt(1 + math.pi * variance / 8))


def centre(model: Pooled, features: Floats) -> float:
    """Return the log odds of right by the mean of the weights alone."""
    return _clipped(float(features @ model.mean))


def learn(model: Pooled, features: Floats, right: float, *, noise: float, false_same: float) -> Pooled:
    """Return the model after a label that said `right` (0 to 1) of features float64[d].

    `noise` is P(called different | right), `false_same` P(called same | wrong); both below 0.5.
    """
    logit = _clipped(float(features @ model.mean))
    truth = sigmoid(logit)
    seen = false_same + (1 - noise - false_same) * truth
    slope = (1 - noise - false_same) * truth * (1 - truth)
    information = slope * slope / (seen * (1 - seen))
    spread = model.covariance @ features / math.sqrt(1 - 1 / MEMORY)
    variance = float(features @ spread)
    step = (right - seen) * slope / (seen * (1 - seen)) / (1 + information * variance)
    # One label moves no log odds further than 1: early on, Newton overshoots.
    step = max(-1 / max(variance, 1e-9), min(1 / max(variance, 1e-9), step))
    shrunk = np.outer(spread, spread) * (information / (1 + information * variance))
    # Fading must not blow up directions that no feature shows: nothing is less known than before the first label.
    faded = model.covariance * (1 + 1 / MEMORY) - shrunk
    widest = np.sqrt(np.maximum(np.diag(faded), 1e-12)) / _PRIOR_SD
    limit = 1 / np.maximum(widest, 1.0)
    return Pooled(mean=model.mean + spread * step, covariance=faded * np.outer(limit, limit))


def refine(pooled_log_odds: float, observations: Sequence[Observation]) -> float:
    """Return the most likely log odds for one answer, given its own labels; the pool's where it has none.

    Plain arithmetic on two numbers: numpy would take ten times as long.
    """
    shift = factor = 0.0
    for _ in range(_NEWTON_STEPS if observations else 0):
        # Gradient and curvature of log likelihood plus log prior.
        by_shift, by_factor = -_SHIFT_PRECISION * shift, -_FACTOR_PRECISION * factor
        shift_shift, shift_factor, factor_factor = _SHIFT_PRECISION, 0.0, _FACTOR_PRECISION
        for item in observations:
            chance = sigmoid(_clipped(item.log_odds * (1 + factor) + shift))
            weight = max(chance * (1 - chance), 1e-4)
            by_shift += item.right - chance
            by_factor += (item.right - chance) * item.log_odds
            shift_shift += weight
            shift_factor += weight * item.log_odds
            factor_factor += weight * item.log_odds**2
        area = shift_shift * factor_factor - shift_factor**2
        shift += max(-2.0, min(2.0, (by_shift * factor_factor - by_factor * shift_factor) / area))
        factor += max(-2.0, min(2.0, (by_factor * shift_shift - by_shift * shift_factor) / area))
    return _clipped(pooled_log_odds * (1 + factor) + shift)


def sigmoid(log_odds: float) -> float:
    """Return the probability of log odds, without overflow."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1 + math.exp(log_odds))


def _clipped(log_odds: float) -> float:
    return max(-_STEEPEST, min(_STEEPEST, log_odds))
