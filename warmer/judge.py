"""Whether a predictor may spend: its warms' precision against the price ratio, with the doubt on the side of not
spending.

Must not spend. What it would have warmed and did not is watched too, for nothing: whether somebody then had to wait for
it. So a predictor that is stopped can show that it is right again; then a few real warms a day are tried before it goes
on.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from warmer.intervals import Z_80, Interval, wilson

Verdict = Literal["run", "probe", "watch"]
"""Warm all that is worth it; a few a day; nothing."""
PROBES_A_DAY = 8
PROBES_AT_ONCE = 3
"""Of which nobody knows yet whether they were useful; of answers that are good for a day that may take as long."""
_KEPT_A_DAY = 0.75
_DAY_S = 86_400.0
_KEPT = 0.99
"""What outcomes are worth after the next one: about the last 100 count."""
_LEAST_SEEN = 3.0
_LEAST_TRIED = 2.5


class Judge(msgspec.Struct, kw_only=True):
    """Decayed outcomes of one predictor at one level: of warms (`tried`) and of what was only watched (`seen`)."""

    tried: float = 0.0
    tried_useful: float = 0.0
    seen: float = 0.0
    seen_useful: float = 0.0
    ratio: float = 1.0
    probes: int = 0
    pending: int = 0
    day: int = 0

    def wanted(self, ratio: float) -> None:
        """Note the price ratio of something that was worth warming."""
        self.ratio = ratio if not (self.tried or self.seen) else 0.95 * self.ratio + 0.05 * ratio

    def outcome(self, *, useful: bool, was_warmed: bool) -> None:
        """Count whether a warm removed a miss, or would have."""
        if was_warmed:
            self.pending = max(0, self.pending - 1)
            self.tried = self.tried * _KEPT + 1.0
            self.tried_useful = self.tried_useful * _KEPT + useful
        else:
            self.seen = self.seen * _KEPT + 1.0
            self.seen_useful = self.seen_useful * _KEPT + useful

    def precision(self) -> Interval:
        """Return the share of useful ones, tried and watched together, with its bounds at 90 % each."""
        return wilson(self.tried_useful + self.seen_useful, self.tried + self.seen, z=Z_80)

    def verdict(self, now_s: float) -> Verdict:
        """Return what is allowed now. Each day what was tried counts a quarter less, so that no stop is for ever."""
        day = int(now_s // _DAY_S)
        if day != self.day:
            kept = _KEPT_A_DAY ** min(60, day - self.day) if self.day else 1.0
            self.tried, self.tried_useful = self.tried * kept, self.tried_useful * kept
            self.day, self.probes = day, 0
            self.pending = min(self.pending, PROBES_AT_ONCE - 1)  # whatever got lost, one a day is left
        both, tried = self.precision(), wilson(self.tried_useful, self.tried, z=Z_80)
        if both.bounds[0] >= self.ratio and tried.bounds[1] >= self.ratio:
            return "run" if self.tried >= _LEAST_TRIED else self._probe()
        is_plausible = both.n >= _LEAST_SEEN and both.value >= self.ratio and tried.bounds[1] >= self.ratio
        return self._probe() if is_plausible else "watch"

    def _probe(self) -> Verdict:
        return "probe" if self.probes < PROBES_A_DAY and self.pending < PROBES_AT_ONCE else "watch"

    def not_tried(self) -> None:
        """Take back a probe that nobody was asked for."""
        self.pending = max(0, self.pending - 1)

    def probed(self) -> None:
        """Count a warm that is a probe."""
        self.probes += 1
        self.pending += 1


def new_judge(*, is_announced: bool) -> Judge:
    """Return one without outcomes; who announces its own requests is believed at first, as if it had been right 4
    times."""
    return Judge(tried=4.0, tried_useful=4.0, ratio=0.5) if is_announced else Judge()
