"""Whether what was predicted came: a predictor's own chances turned into those that its outcomes bear out.

Must not predict. Chances fall into bins; each bin's observed share, with a few imagined outcomes at the predictor's own
word, is made monotone by pooling adjacent violators (Ayer et al., 1955; Zadrozny & Elkan, 2002). Old outcomes count
less. Brier score (1950) and expected calibration error (Naeini et al., 2015) are of the chances as they were *given*,
before the outcome was known.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from warmer.intervals import Interval, wilson

EDGES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_MIDDLES = tuple((low + high) / 2 for low, high in pairwise(EDGES))
_IMAGINED = 3.0
_KEPT = 0.995
"""What a bin's outcomes are worth after its next one: about the last 200 count."""
_MOST_OPEN = 1024


class Bin(msgspec.Struct, kw_only=True):
    """Decayed outcomes of the predictions whose chance fell between two edges."""

    n: float = 0.0
    said: float = 0.0
    came: float = 0.0

    def add(self, chance: float, *, came: bool, kept: float) -> None:
        """Count an outcome."""
        self.n = self.n * kept + 1.0
        self.said = self.said * kept + chance
        self.came = self.came * kept + came


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction whose time is not over: the predictor's word and what was given out."""

    from_s: float
    until_s: float
    said: float
    given: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a reliability table: of predictions given with about `given`, the share that came true."""

    given: float
    came: Interval


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """How good the chances are: `brier` as given and, to compare, as said and as their mean alone would have it."""

    n: int
    brier: float
    brier_said: float
    brier_mean: float
    ece: float
    rows: tuple[Row, ...]


class Calibration(msgspec.Struct, kw_only=True):
    """One predictor's outcomes. A target counts once while it is open; at most 1,024 are open at a time."""

    bins: list[Bin] = msgspec.field(default_factory=lambda: [Bin() for _ in EDGES[1:]])
    given: list[Bin] = msgspec.field(default_factory=lambda: [Bin() for _ in EDGES[1:]])
    open: dict[str, Open] = msgspec.field(default_factory=dict)
    n: int = 0
    came: int = 0
    error_given: float = 0.0
    error_said: float = 0.0
    curve: list[float] = msgspec.field(default_factory=list)

    def chance(self, said: float) -> float:
        """Return what a chance of `said` is worth, between the middles of the bins by a straight line."""
        curve = self.curve or self._pooled()
        if said <= _MIDDLES[0]:
            return curve[0] * said / _MIDDLES[0]
        if said >= _MIDDLES[-1]:
            return curve[-1]
        place = bisect.bisect_left(_MIDDLES, said)
        share = (said - _MIDDLES[place - 1]) / (_MIDDLES[place] - _MIDDLES[place - 1])
        return curve[place - 1] + share * (curve[place] - curve[place - 1])

    def expect(self, target: str, expected: Open) -> None:
        """Watch for `target`. One that is watched already goes on as it was."""
        if target not in self.open and len(self.open) < _MOST_OPEN:
            self.open[target] = expected

    def saw(self, targets: Sequence[str], at_s: float) -> None:
        """Tell what was asked."""
        for target in targets:
            found = self.open.get(target)
            if found is not None and found.from_s <= at_s <= found.until_s:
                del self.open[target]
                self._settle(found, came=True)

    def expire(self, now_s: float) -> None:
        """Count what did not come in its time."""
        for target in [target for target, one in self.open.items() if one.until_s < now_s]:
            self._settle(self.open.pop(target), came=False)

    def _settle(self, one: Open, *, came: bool) -> None:
        self.bins[_bin(one.said)].add(one.said, came=came, kept=_KEPT)
        self.given[_bin(one.given)].add(one.given, came=came, kept=1.0)
        self.n += 1
        self.came += came
        self.error_given += (one.given - came) ** 2
        self.error_said += (one.said - came) ** 2
        self.curve = self._pooled()

    def _pooled(self) -> list[float]:
        blocks: list[tuple[float, float, int]] = []
        for place, one in enumerate(self.bins):
            n = one.n + _IMAGINED
            blocks.append(((one.came + _IMAGINED * _MIDDLES[place]) / n, n, 1))
            while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
                (second, second_n, second_bins), (first, first_n, first_bins) = blocks.pop(), blocks.pop()
                n = first_n + second_n
                blocks.append(((first * first_n + second * second_n) / n, n, first_bins + second_bins))
        return [value for value, _, bins in blocks for _ in range(bins)]

    def reliability(self) -> Reliability:
        """Return the table and the scores."""
        n = max(1, self.n)
        rows = tuple(Row(given=one.said / one.n, came=wilson(one.came, one.n)) for one in self.given if one.n)
        mean = self.came / n
        return Reliability(
            n=self.n,
            brier=self.error_given / n,
            brier_said=self.error_said / n,
            brier_mean=mean * (1 - mean),
            ece=sum(row.came.n * abs(row.given - row.came.value) for row in rows) / n,
            rows=rows,
        )


def _bin(chance: float) -> int:
    return next((place for place, edge in enumerate(EDGES[1:-1]) if chance < edge), len(EDGES) - 2)
