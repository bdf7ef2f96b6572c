"""What followed what, how often: counts of situations and of what came next, in bounded memory. Must not read a
clock."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_MOST_COUNT = 2000.0
"""Beyond it a situation's counts are halved, so that what was usual once is forgotten."""


class Situation(msgspec.Struct, kw_only=True):
    """How often it arose, and how often each thing followed."""

    times: float = 0.0
    nexts: dict[str, float] = msgspec.field(default_factory=dict)


class Transitions(msgspec.Struct, kw_only=True):
    """About `capacity` situations with `fanout` followers each; the rarest make room, a fifth of them at once."""

    capacity: int = 1024
    fanout: int = 48
    situations: dict[str, Situation] = msgspec.field(default_factory=dict)

    def arose(self, situation: str) -> None:
        """Count that `situation` arose."""
        found = self.situations.get(situation)
        if found is None:
            if len(self.situations) >= self.capacity + self.capacity // 4:
                rare = sorted(self.situations, key=lambda one: self.situations[one].times)[: -self.capacity]
                for one in rare:
                    del self.situations[one]
            found = self.situations[situation] = Situation()
        found.times += 1.0
        if found.times > _MOST_COUNT:
            found.times /= 2
            found.nexts = {what: count / 2 for what, count in found.nexts.items()}

    def followed(self, situation: str, what: str) -> None:
        """Count that `what` came next; unknown situations are passed over."""
        found = self.situations.get(situation)
        if found is None:
            return
        if what not in found.nexts and len(found.nexts) >= self.fanout:
            rarest = min(found.nexts, key=lambda one: found.nexts[one])
            del found.nexts[rarest]
        found.nexts[what] = found.nexts.get(what, 0.0) + 1.0

    def likely(self, situation: str, *, least: float) -> Sequence[tuple[str, float]]:
        """Return what follows with at least that chance, likeliest first; one time that it did not is added."""
        found = self.situations.get(situation)
        if found is None:
            return ()
        chances = [(what, count / (found.times + 1.0)) for what, count in found.nexts.items()]
        return sorted((pair for pair in chances if pair[1] >= least), key=lambda pair: -pair[1])
