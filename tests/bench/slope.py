"""Whether a series of samples grows: the slope of its block means with a 95 % interval. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

BLOCKS = 10
T_8 = 2.306
"""Student's t for 95 %, two-sided, with BLOCKS - 2 degrees of freedom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Growth per step of x, with the bounds of its 95 % interval."""

    per_x: float
    least: float
    most: float

    @property
    def is_flat(self) -> bool:
        """Whether it cannot be told from 0, or falls."""
        return self.least <= 0


def slope(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Return the slope of y over x (ordinary least squares over block means), None for fewer than two a block.

    Samples that follow each other are alike, so that the interval of a fit over all of them would be far too narrow:
    means of ten blocks are nearly independent.
    """
    if len(points) < 2 * BLOCKS:
        return None
    edges = [len(points) * block // BLOCKS for block in range(BLOCKS + 1)]
    blocks = [points[start:end] for start, end in pairwise(edges)]
    xs = [statistics.fmean(x for x, _ in block) for block in blocks]
    ys = [statistics.fmean(y for _, y in block) for block in blocks]
    per_x, start = statistics.linear_regression(xs, ys)
    rest = sum((y - start - per_x * x) ** 2 for x, y in zip(xs, ys, strict=True))
    middle = statistics.fmean(xs)
    error = (rest / (BLOCKS - 2) / sum((x - middle) ** 2 for x in xs)) ** 0.5
    return Slope(per_x=per_x, least=per_x - T_8 * error, most=per_x + T_8 * error)
