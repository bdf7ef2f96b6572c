"""Durations as people write them in policies: `500ms`, `90s`, `15m`, `1h`, `30d`. Must not read a clock."""

from __future__ import annotations

import re

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SHAPE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")

PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d)$"
"""The same as a JSON Schema pattern."""

MAX_S = 3650 * 86400.0


def parse_duration(value: object) -> float:
    """Return seconds. A bare number is refused, since nobody can see its unit; 0 needs none.

    Raises ValueError with what would be right; so does anything above ten years.
    """
    if value == 0 and not isinstance(value, bool):
        return 0.0
    found = _SHAPE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a duration with its unit, such as 500ms, 90s, 15m, 1h or 30d")
    seconds = float(found[1]) * _UNITS_S[found[2]]
    if seconds > MAX_S:
        raise ValueError("must be at most 3650d")
    return seconds


def duration_text(seconds: float) -> str:
    """Write seconds with the largest unit that leaves a whole number."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS_S[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0"
