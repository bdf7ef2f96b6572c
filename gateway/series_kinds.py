"""The kinds of metric series, as plain data. Must not import a metrics library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Series:
    """One metric: its name in Prometheus form (counters without `_total`), its help text and its labels."""

    name: str
    text: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution(Series):
    """A histogram; `buckets` are upper bounds."""

    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Level(Series):
    """A gauge; `mode` says how the values of several processes become one. Both forget processes that have ended."""

    mode: Literal["livesum", "livemax"] = "livemax"
