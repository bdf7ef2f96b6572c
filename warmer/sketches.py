"""Counters of fixed size: what comes most, with decay, and how often anything comes. Must not keep texts or read a
clock.

Space-Saving: Metwally et al., Efficient computation of frequent elements (2005); decay by comparing logarithms that do
not change with time (Cormode et al., Forward decay, 2009). Count-min: Cormode & Muthukrishnan (2005).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import msgspec

_FAR_BELOW = -1e9
_ROWS = 4


class Counter(msgspec.Struct, kw_only=True):
    """One thing's weight, as log2(weight) + time / half-life; `error` is the part that may be another's, likewise."""

    level: float
    error: float = _FAR_BELOW


class SpaceSaving(msgspec.Struct, kw_only=True):
    """The about `capacity` heaviest names of a stream; a name's weight halves every `half_life_s`.

    Beyond a quarter more than `capacity` the lightest go all at once, which is cheaper than one by one; `floor` is the
    level of the heaviest of those, and is left to every newcomer as its error.
    """

    capacity: int
    half_life_s: float
    counters: dict[str, Counter] = msgspec.field(default_factory=dict)
    floor: float = _FAR_BELOW

    def add(self, name: str, at_s: float) -> Sequence[str]:
        """Count `name` once, and return the names that had to make room."""
        age = at_s / self.half_life_s
        counter = self.counters.get(name)
        if counter is not None:
            counter.level = _plus_one(counter.level, age)
            return ()
        self.counters[name] = Counter(level=_plus_one(self.floor, age), error=self.floor)
        if len(self.counters) <= self.capacity + self.capacity // 4:
            return ()
        lightest = sorted(self.counters, key=lambda one: self.counters[one].level)[: -self.capacity]
        for one in lightest:
            self.floor = self.counters.pop(one).level
        return lightest

    def weight(self, name: str, now_s: float) -> float:
        """Return the decayed count that is surely the name's own, 0 if it is not kept."""
        counter = self.counters.get(name)
        if counter is None:
            return 0.0
        age = now_s / self.half_life_s
        return _power(counter.level - age) - _power(counter.error - age)

    def bar(self, now_s: float, weight: float) -> float:
        """Return the level that is worth `weight` now."""
        return now_s / self.half_life_s + math.log2(weight)

    def heaviest(self, now_s: float, *, least: float) -> list[tuple[str, float]]:
        """Return the names whose own weight is above `least` (above 0), heaviest first."""
        bar = self.bar(now_s, least)
        weighed = [(name, self.weight(name, now_s)) for name, one in self.counters.items() if one.level > bar]
        return sorted((pair for pair in weighed if pair[1] > least), key=lambda pair: -pair[1])


class CountMin(msgspec.Struct, kw_only=True):
    """How often names came lately: never too low but for ageing. Every `sample` additions all counts are halved."""

    width: int = 4096
    sample: int = 40_960
    added: int = 0
    counts: list[int] = msgspec.field(default_factory=list)

    def add(self, name: str) -> None:
        """Count `name` once."""
        if not self.counts:
            self.counts = [0] * (self.width * _ROWS)
        for place in self._places(name):
            self.counts[place] += 1
        self.added += 1
        if self.added >= self.sample:
            self.counts = [count >> 1 for count in self.counts]
            self.added >>= 1

    def estimate(self, name: str) -> int:
        """Return how often `name` came since a time that moves with the stream; others' counts may be in it."""
        return min(self.counts[place] for place in self._places(name)) if self.counts else 0

    def _places(self, name: str) -> list[int]:
        digest = hashlib.blake2b(name.encode(), digest_size=4 * _ROWS).digest()
        return [
            row * self.width + int.from_bytes(digest[4 * row : 4 * row + 4], "little") % self.width
            for row in range(_ROWS)
        ]


def _plus_one(level: float, age: float) -> float:
    return age + math.log2(_power(level - age) + 1.0)


def _power(exponent: float) -> float:
    return 0.0 if exponent < -60.0 else 2.0**exponent
