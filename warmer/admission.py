"""Who may be warm at the same time: a warm must not push out what is asked more. Must not read a clock.

TinyLFU (Einziger, Friedman & Manes, 2017): a newcomer gets in only where its estimated frequency is above the victim's.
The victims are warms that nobody has used yet, so that what users have asked for is never pushed out by a warm at all.
"""

from __future__ import annotations

import msgspec

from warmer.sketches import CountMin


class Unused(msgspec.Struct, frozen=True, kw_only=True):
    """A warm that nobody has used yet: `heat` are the requests expected while it is good."""

    until_s: float
    heat: float


class Admission(msgspec.Struct, kw_only=True):
    """The unused warms of one tenant, at most `capacity`, and how often its keys are asked for."""

    capacity: int = 256
    frequency: CountMin = msgspec.field(default_factory=CountMin)
    unused: dict[str, Unused] = msgspec.field(default_factory=dict)

    def asked(self, key: str) -> None:
        """Count a request; if its answer was warm and unused, it is used now."""
        self.frequency.add(key)
        self.unused.pop(key, None)

    def heat(self, key: str, probability: float) -> float:
        """Return how hot `key` is: what is expected of it, and how often it was asked for lately."""
        return probability + self.frequency.estimate(key)

    def victim(self, now_s: float) -> str | None:
        """Return the unused warm that is the first to go, None while there is room."""
        for key in [key for key, one in self.unused.items() if one.until_s <= now_s]:
            del self.unused[key]
        if len(self.unused) < self.capacity:
            return None
        return min(self.unused, key=lambda key: self.unused[key].heat)

    def admits(self, key: str, probability: float, now_s: float) -> bool:
        """Return whether `key` may be warmed: there is room, or it is hotter than the coldest unused warm."""
        victim = self.victim(now_s)
        return victim is None or self.heat(key, probability) > self.unused[victim].heat

    def warmed(self, key: str, *, probability: float, until_s: float, now_s: float) -> str | None:
        """Note a warm; return the key of the one that had to go, whose answer may be dropped."""
        self.unused.pop(key, None)
        victim = self.victim(now_s)
        if victim is not None:
            del self.unused[victim]
        self.unused[key] = Unused(until_s=until_s, heat=self.heat(key, probability))
        return victim
