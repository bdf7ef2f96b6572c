"""What became of each warm, told from what would have been without it: the counterfactual, request by request.

Must not read a clock. A warm's shadow is the cache without it: until when its key would have been fresh, rolled forward
by every request (fill-on-miss). A miss is removed where the shadow had to miss and the request hit; one is added where
the shadow, filled later than the warm, would still have hit. Requests are taken to come whether anything is warm or
not.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from warmer.types import Event, Level, PredictorName

TrialKind = Literal["warm", "held", "paper"]
"""Warmed; worth it but its key is held out; worth it but not done (no budget, or the predictor is stopped)."""
_MOST = 4096


class Trial(msgspec.Struct, kw_only=True):
    """One warm, or what would have been one, and what came of it. `name` is the tenant and its key, or transcript.

    `shadow_until_s` is the counterfactual freshness; `is_useful` is None as long as both may be. `cost_nanousd` is
    what was paid, or would have been; `saves_nanousd` and `saves_wait_s` were quoted for one miss.
    """

    name: str
    tenant: str
    predictor: PredictorName
    level: Level
    kind: TrialKind
    at_s: float
    until_s: float
    shadow_until_s: float
    cost_nanousd: int
    saves_nanousd: int
    saves_wait_s: float
    is_useful: bool | None = None
    removed: int = 0
    saved_nanousd: int = 0
    saved_wait_s: float = 0.0
    lead_s: float = 0.0


class Trials(msgspec.Struct, kw_only=True):
    """The trials whose time is not over, by name; the oldest are closed beyond 4,096."""

    open: dict[str, Trial] = msgspec.field(default_factory=dict)
    next_end_s: float = 0.0

    def start(self, trial: Trial) -> tuple[list[Trial], list[Trial]]:
        """Follow `trial`; return those that are found useless, and those closed, because it takes their place.

        A second warm of a key takes over the shadow.
        """
        closed = []
        before = self.open.pop(trial.name, None)
        if before is not None:
            if before.kind == trial.kind == "warm" and before.level == trial.level == "answer":
                trial.shadow_until_s = before.shadow_until_s
            closed.append(before)
        elif len(self.open) >= _MOST:
            closed.append(self.open.pop(next(iter(self.open))))
        self.open[trial.name] = trial
        self.next_end_s = min(self.next_end_s or trial.until_s, trial.until_s)
        useless = [one for one in closed if one.is_useful is None]
        for one in useless:
            one.is_useful = False
        return useless, closed

    def is_busy(self, name: str, now_s: float) -> bool:
        """Return whether there would be something good under that name now, or is and nobody else says so: a prefix."""
        found = self.open.get(name)
        return found is not None and found.until_s > now_s and (found.kind != "warm" or found.level == "prefix")

    def is_warm(self, name: str, now_s: float) -> bool:
        """Return whether what was warmed under that name is still followed, so that nothing may take its place."""
        found = self.open.get(name)
        return found is not None and found.until_s > now_s and found.kind == "warm"

    def saw(self, event: Event) -> Trial | None:
        """Tell of a request; return the trial that is found useful by it."""
        found = None
        trial = self.open.get(f"{event.tenant} {event.key}")
        if trial is not None and _judge(trial, event):
            found = trial
        if event.attachment and event.kind == "chat":
            trial = self.open.get(f"{event.tenant} about {event.attachment}")
            if trial is not None and _judge(trial, event):
                found = trial
        return found

    def expire(self, now_s: float) -> tuple[list[Trial], list[Trial]]:
        """Return those found useless since they ended, and those closed: their shadow is over too."""
        if not self.next_end_s or now_s < self.next_end_s:
            return [], []
        useless, closed = [], []
        for trial in self.open.values():
            if trial.is_useful is None and now_s > trial.until_s:
                trial.is_useful = False
                useless.append(trial)
            if now_s > _end_s(trial):
                closed.append(trial)
        for trial in closed:
            del self.open[trial.name]
        ends = [one.until_s if one.is_useful is None else _end_s(one) for one in self.open.values()]
        self.next_end_s = min(ends, default=0.0)
        return useless, closed


def _end_s(trial: Trial) -> float:
    if trial.kind == "warm" and trial.level == "answer":
        return max(trial.until_s, trial.shadow_until_s)
    return trial.until_s


def _judge(trial: Trial, event: Event) -> bool:
    """Count what `event` says; return whether it makes the trial useful."""
    if event.at_s < trial.at_s:
        return False
    if trial.kind == "warm" and trial.level == "answer":
        return _against_shadow(trial, event)
    is_miss_in_time = not event.was_hit and trial.shadow_until_s <= event.at_s <= trial.until_s
    if trial.is_useful is not None or not is_miss_in_time:
        return False
    trial.is_useful = True
    trial.lead_s = event.at_s - trial.at_s
    if trial.kind == "warm":
        trial.saved_nanousd = trial.saves_nanousd
    return True


def _against_shadow(trial: Trial, event: Event) -> bool:
    shadow_misses = event.at_s > trial.shadow_until_s
    if shadow_misses:
        trial.shadow_until_s = event.at_s + event.ttl_s
    change = int(shadow_misses) - int(not event.was_hit)
    if not change:
        return False
    trial.removed += change
    trial.saved_nanousd += change * trial.saves_nanousd
    trial.saved_wait_s += max(0.0, trial.saves_wait_s - event.waited_s) if change > 0 else -event.waited_s
    if change < 0 or trial.is_useful is not None or event.at_s > trial.until_s:
        return False
    trial.is_useful = True
    trial.lead_s = event.at_s - trial.at_s
    return True
