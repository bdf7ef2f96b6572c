"""Sounds an alarm when hits go wrong more often than a class may, and says how long that takes.

A CUSUM of log likelihood ratios: an e-detector (Shin, Ramdas and Rinaldo, arXiv:2203.03532), whose false alarms come
once in `FALSE_ALARM_LABELS` labels at most while the rate is what is allowed (Lorden 1971). Pure.
"""

from __future__ import annotations

import math
from typing import Final

FALSE_ALARM_LABELS: Final = 2000
_WORSE: Final = 3.0
"""The change it is tuned for: three times the wrong hits that are allowed."""


def step(level: float, different: float, *, allowed: float, floor: float) -> float:
    """Return the level after a label of a hit that said `different` (0 to 1).

    `allowed` is the bound on wrong hits, `floor` how often comparators call a right pair different.
    """
    before, after = _rates(allowed, floor)
    gain = different * math.log(after / before) + (1 - different) * math.log((1 - after) / (1 - before))
    return max(0.0, level + gain)


def is_alarm(level: float) -> bool:
    """Whether the level says that the class has changed."""
    return level >= math.log(FALSE_ALARM_LABELS)


def delay_labels(*, allowed: float, floor: float) -> float:
    """Return how many labels of hits pass, on average, until a threefold rate of wrong hits sounds the alarm."""
    before, after = _rates(allowed, floor)
    information = after * math.log(after / before) + (1 - after) * math.log((1 - after) / (1 - before))
    return math.log(FALSE_ALARM_LABELS) / information


def _rates(allowed: float, floor: float) -> tuple[float, float]:
    return min(0.3, floor + allowed), min(0.6, floor + _WORSE * allowed)
