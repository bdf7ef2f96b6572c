"""A popular answer that is about to expire is made anew before somebody has to wait for it. Must not look at texts.

How early is drawn as in XFetch (Vattani et al., Optimal probabilistic cache stampede prevention, 2015), by the key and
its expiry, so that the draw is the same whenever it is made.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from warmer.rates import Rates
from warmer.sketches import SpaceSaving
from warmer.state import dump, restore
from warmer.types import Event, Known, Prediction

VERSION = 1
HALF_LIFE_S = 86_400.0
_LEAD_S = 60.0
"""What a step, the queue and the answer itself take, roughly, with the cheaper tiers in mind."""
_SPREAD_S = 20.0
_EARLIEST_S = 1000.0
_MOST_OF_TTL = 0.1
_MOST = 64


class RefreshAhead:
    """One tenant's popular keys, and when to make them anew."""

    def __init__(self, tenant: str, *, capacity: int = 256, half_life_s: float = HALF_LIFE_S) -> None:
        self._tenant = tenant
        self._rates = Rates(hot=SpaceSaving(capacity=capacity, half_life_s=half_life_s))

    def observe(self, event: Event) -> None:
        """Count a request."""
        self._rates.add(event)

    def predict(self, now_s: float, fresh_until_s: Mapping[str, float]) -> Sequence[Prediction]:
        """Return the keys whose answers expire so soon; p is of a request between then and the new answer's end."""
        rates = self._rates
        rates.advance(now_s)
        found = []
        for key in rates.hot.counters:
            until_s = fresh_until_s.get(key, 0.0)
            if not now_s < until_s <= now_s + _EARLIEST_S:
                continue
            ttl_s = rates.ttl_s.get(key, 0.0)
            if ttl_s <= 0 or until_s > now_s + early_s(key, until_s, ttl_s):
                continue
            per_s = rates.per_s(key, now_s)
            if per_s <= 0:
                continue
            found.append(
                Prediction(
                    tenant=self._tenant,
                    recipe=Known(key=key),
                    predictor="refresh_ahead",
                    probability=rates.chance(per_s, until_s, now_s + ttl_s),
                    due_at_s=until_s + min(ttl_s, 1.0 / per_s),
                    until_s=now_s + ttl_s,
                    from_s=until_s,
                )
            )
        return sorted(found, key=lambda one: -one.probability)[:_MOST]

    def dump(self) -> bytes:
        """Return the rates."""
        return dump(self._rates, version=VERSION)

    def restore(self, learnt: bytes) -> None:
        """Take the rates back."""
        self._rates = restore(learnt, Rates, version=VERSION) or self._rates


def early_s(key: str, until_s: float, ttl_s: float) -> float:
    """Return how long before its expiry an answer is made anew; never more than a tenth of its time."""
    digest = hashlib.blake2b(f"{key} {until_s:.3f}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "little") + 1) / 2**64
    return min(_MOST_OF_TTL * ttl_s, _LEAD_S - _SPREAD_S * math.log(uniform))
