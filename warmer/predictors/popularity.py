"""What is often asked, and not in the cache now, will be asked again: decayed rates of the heaviest keys, times the
hour of the week; p = 1 - exp(-λ·ttl). Must not look at texts.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

from warmer.rates import Rates
from warmer.sketches import SpaceSaving
from warmer.state import dump, restore
from warmer.types import Event, Known, Prediction

VERSION = 1
HALF_LIFE_S = 86_400.0
_MOST = 64
_LEAST_EXPECTED = 0.05
_LEAST_WEIGHT = 0.7
"""Half a day after a single request its key is not popular any more."""


class Popularity:
    """One tenant's popular keys."""

    def __init__(self, tenant: str, *, capacity: int = 256, half_life_s: float = HALF_LIFE_S) -> None:
        self._tenant = tenant
        self._rates = Rates(hot=SpaceSaving(capacity=capacity, half_life_s=half_life_s))

    def observe(self, event: Event) -> None:
        """Count a request."""
        self._rates.add(event)

    def predict(self, now_s: float, fresh_until_s: Mapping[str, float]) -> Sequence[Prediction]:
        """Return the popular keys that have no fresh answer."""
        rates = self._rates
        rates.advance(now_s)
        bar = rates.hot.bar(now_s, _LEAST_WEIGHT)
        spans_s: dict[float, float] = {}
        expected: list[tuple[float, str]] = []
        for key, counter in rates.hot.counters.items():
            ttl_s = rates.ttl_s.get(key, 0.0)
            if counter.level <= bar or ttl_s <= 0 or fresh_until_s.get(key, 0.0) > now_s:
                continue
            if ttl_s not in spans_s:
                spans_s[ttl_s] = rates.profile.effective_s(now_s, now_s + ttl_s)
            requests = rates.per_s(key, now_s) * spans_s[ttl_s]
            if requests >= _LEAST_EXPECTED:
                expected.append((requests, key))
        return [self._prediction(key, requests, now_s) for requests, key in heapq.nlargest(_MOST, expected)]

    def _prediction(self, key: str, requests: float, now_s: float) -> Prediction:
        ttl_s = self._rates.ttl_s[key]
        return Prediction(
            tenant=self._tenant,
            recipe=Known(key=key),
            predictor="popularity",
            probability=-math.expm1(-requests),
            due_at_s=now_s + ttl_s / max(1.0, requests),
            until_s=now_s + ttl_s,
        )

    def dump(self) -> bytes:
        """Return the rates."""
        return dump(self._rates, version=VERSION)

    def restore(self, learnt: bytes) -> None:
        """Take the rates back."""
        self._rates = restore(learnt, Rates, version=VERSION) or self._rates
