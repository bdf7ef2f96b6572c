"""How often each popular answer is wanted: decayed counts over the time watched, times the hour of the week.

Must not predict. Memory is bounded by `capacity`.
"""

from __future__ import annotations

import math

import msgspec

from warmer.profile import HOUR_S, Profile, pieces
from warmer.sketches import SpaceSaving
from warmer.types import Event

_LEAST_ADVANCE_S = 10.0
_LEAST_EXPOSURE_S = HOUR_S
"""Before so much was watched, one request more or less would make a rate."""


class Rates(msgspec.Struct, kw_only=True):
    """Rates of the heaviest keys of one tenant. `exposure_s` are the average seconds watched, decayed like counts."""

    hot: SpaceSaving
    profile: Profile = msgspec.field(default_factory=Profile)
    ttl_s: dict[str, float] = msgspec.field(default_factory=dict)
    exposure_s: float = 0.0
    to_s: float = 0.0

    def add(self, event: Event) -> None:
        """Count a request. `ttl_s` of an answer is what the last event of its key said."""
        self.advance(event.at_s)
        self.profile.add(event.at_s)
        for evicted in self.hot.add(event.key, event.at_s):
            self.ttl_s.pop(evicted, None)
        self.ttl_s[event.key] = event.ttl_s

    def advance(self, now_s: float) -> None:
        """Count the time until `now_s` as watched."""
        self.profile.advance(now_s)
        if not self.to_s:
            self.to_s = now_s
        if now_s - self.to_s < _LEAST_ADVANCE_S:
            return
        for start_s, end_s in pieces(self.to_s, now_s):
            kept = 0.5 ** ((end_s - start_s) / self.hot.half_life_s)
            self.exposure_s = self.exposure_s * kept + self.profile.effective_s(start_s, end_s) * math.sqrt(kept)
        self.to_s = max(self.to_s, now_s)

    def per_s(self, key: str, now_s: float) -> float:
        """Return the key's rate at an average hour."""
        return self.hot.weight(key, now_s) / max(self.exposure_s, _LEAST_EXPOSURE_S)

    def chance(self, per_s: float, start_s: float, end_s: float) -> float:
        """Return the chance of at least one request in that time, if they come independently of each other."""
        return -math.expm1(-per_s * self.profile.effective_s(start_s, end_s))
