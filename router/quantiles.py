"""Rolling quantiles of what was measured lately, per key. Must not read a clock (times are passed in) nor wait.

The owner of all latencies in this process: bounded in keys, samples and age.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

_REFRESH_RATIO = 8
"""One in so many samples may be newer than the last sort: whatever the number, that is about 0.5 µs a sample."""


class _Window:
    """The newest samples of one key, and a sorted copy that may lack the last few."""

    __slots__ = ("added", "samples", "sorted", "sorted_at_s", "stale", "times")

    def __init__(self) -> None:
        self.samples: list[float] = []
        self.times: list[float] = []
        self.added = 0
        self.stale = 0
        self.sorted: list[float] = []
        self.sorted_at_s = 0.0


class Quantiles:
    """Keeps the newest `window` samples of at most `max_keys` keys, none older than `max_age_s` when it is used."""

    def __init__(self, *, window: int = 512, max_keys: int = 1024, max_age_s: float = 600.0) -> None:
        self._window = window
        self._max_keys = max_keys
        self._max_age_s = max_age_s
        self._by_key: OrderedDict[Hashable, _Window] = OrderedDict()

    def add(self, key: Hashable, value_s: float, now_s: float) -> None:
        """Note one measurement (seconds) taken at `now_s`."""
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = _Window()
            if len(self._by_key) > self._max_keys:
                self._by_key.popitem(last=False)
        if len(found.samples) < self._window:
            found.samples.append(value_s)
            found.times.append(now_s)
        else:
            place = found.added % self._window
            found.samples[place], found.times[place] = value_s, now_s
        found.added += 1
        found.stale += 1

    def quantile(self, key: Hashable, share: float, now_s: float, *, at_least: int = 1) -> float | None:
        """Return the `share` quantile (0 to 1, nearest rank) in seconds, None below `at_least` fresh samples."""
        found = self._by_key.get(key)
        if found is None or len(found.samples) < at_least:
            return None
        is_old = now_s - found.sorted_at_s > self._max_age_s / 10
        if found.stale * _REFRESH_RATIO >= len(found.samples) or is_old or len(found.sorted) < at_least:
            self._sort(key, found, now_s)
        if len(found.sorted) < max(1, at_least):
            return None
        return found.sorted[min(len(found.sorted) - 1, int(share * len(found.sorted)))]

    def _sort(self, key: Hashable, found: _Window, now_s: float) -> None:
        oldest_s = now_s - self._max_age_s
        found.sorted = sorted(value for value, at_s in zip(found.samples, found.times, strict=True) if at_s >= oldest_s)
        found.sorted_at_s = now_s
        found.stale = 0
        self._by_key.move_to_end(key)  # what is asked for is what is kept
