"""What became of each warm, told from what would have been without it: the counterfactual, request by request.

Must not read a clock. A warm's shadow is the cache without it: until when its key would have been fresh, rolled forward
by every request (fill-on-miss). A miss is removed where the shadow had to miss and the request hit; one is added where
the shadow, filled later than the warm, would still have hit. Requests are taken to come whether anything is warm or
not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from warmer.types import Event, Level, PredictorName

TrialKind = Literal["warm", "held", "paper"]
"""Warmed; worth it but its key is held out; worth it but not done (no budget, or the predictor is stopped)."""
_MOST = 4096


class Trial(msgspec.Struct, kw_only=True):
    """One warm, or what would have been one, and what came of it. `name` is the tenant and its key, or transcript.

    `real_until_s` is until when the key is fresh, `shadow_until_s` until when it would be. It is useless if nobody
    wanted it by `due_s`, as was predicted; until then `is_useful` is None, and while it is good (`until_s`) a warm can
    still become useful late. `cost_nanousd` is what was paid, or would have been; `saves_nanousd` and `saves_wait_s`
    were quoted for one miss.
    """

    name: str
    tenant: str
    predictor: PredictorName
    level: Level
    kind: TrialKind
    at_s: float
    until_s: float
    due_s: float
    shadow_until_s: float
    real_until_s: float
    cost_nanousd: int
    saves_nanousd: int
    saves_wait_s: float
    is_useful: bool | None = None
    removed: int = 0
    saved_nanousd: int = 0
    saved_wait_s: float = 0.0
    lead_s: float = 0.0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What changed: those found useful (late or not) or useless, and those whose time is over."""

    useful: tuple[Trial, ...] = ()
    late: tuple[Trial, ...] = ()
    useless: tuple[Trial, ...] = ()
    closed: tuple[Trial, ...] = ()


class Trials(msgspec.Struct, kw_only=True):
    """The trials whose time is not over, by name: one warm, and one watched trial a predictor; 4,096 names of each."""

    warms: dict[str, Trial] = msgspec.field(default_factory=dict)
    watched: dict[str, dict[str, Trial]] = msgspec.field(default_factory=dict)
    next_end_s: float = 0.0

    def start(self, trial: Trial) -> Ended:
        """Follow `trial`; the oldest make room.

        A second warm of a key takes over the first one's shadow. What was watched of it is dropped without an outcome:
        nobody will know now.
        """
        self.next_end_s = min(self.next_end_s or trial.due_s, trial.due_s)
        if trial.kind != "warm":
            self.watched.setdefault(trial.name, {})[trial.predictor] = trial
            if len(self.watched) > _MOST:
                del self.watched[next(iter(self.watched))]
            return Ended()
        self.watched.pop(trial.name, None)
        closed = []
        before = self.warms.pop(trial.name, None)
        if before is not None:
            if before.level == trial.level == "answer":
                trial.shadow_until_s = before.shadow_until_s
            closed.append(before)
        elif len(self.warms) >= _MOST:
            closed.append(self.warms.pop(next(iter(self.warms))))
        self.warms[trial.name] = trial
        return Ended(useless=_fail(one for one in closed if one.is_useful is None), closed=tuple(closed))

    def is_watched(self, name: str, predictor: PredictorName, now_s: float) -> bool:
        """Return whether what that predictor would have warmed there is being watched, so that it counts once."""
        watched = self.watched.get(name, {}).get(predictor)
        return watched is not None and watched.until_s > now_s and watched.is_useful is None

    def has_prefix(self, name: str, now_s: float) -> bool:
        """Return whether a prefix was warmed under that name that still lasts: no quote tells of it."""
        warm = self.warms.get(name)
        return warm is not None and warm.level == "prefix" and warm.until_s > now_s

    def is_warm(self, name: str, now_s: float) -> bool:
        """Return whether something was warmed under that name that is still good."""
        warm = self.warms.get(name)
        return warm is not None and warm.until_s > now_s

    def saw(self, event: Event) -> Ended:
        """Tell of a request."""
        names = [f"{event.tenant} {event.key}"]
        if event.attachment and event.kind == "chat":
            names.append(f"{event.tenant} about {event.attachment}")
        useful: list[Trial] = []
        late: list[Trial] = []
        for name in names:
            warm = self.warms.get(name)
            found = [*self.watched.get(name, {}).values(), *([warm] if warm is not None else [])]
            for trial in found:
                before = trial.is_useful
                if event.at_s >= trial.at_s and before is not True and _judge(trial, event):
                    (useful if before is None else late).append(trial)
                elif before is True:
                    _judge(trial, event)
        return Ended(useful=tuple(useful), late=tuple(late))

    def expire(self, now_s: float) -> Ended:
        """Tell how late it is."""
        if not self.next_end_s or now_s < self.next_end_s:
            return Ended()
        trials = [*self.warms.values(), *(one for ones in self.watched.values() for one in ones.values())]
        useless = _fail(one for one in trials if one.is_useful is None and now_s > one.due_s)
        closed = tuple(one for one in self.warms.values() if now_s > _end_s(one))
        for trial in closed:
            del self.warms[trial.name]
        for name in list(self.watched):
            ones = {by: one for by, one in self.watched[name].items() if now_s <= one.until_s}
            self.watched[name] = ones
            if not ones:
                del self.watched[name]
        left = [*self.warms.values(), *(one for ones in self.watched.values() for one in ones.values())]
        self.next_end_s = min((one.due_s if one.is_useful is None else _end_s(one) for one in left), default=0.0)
        return Ended(useless=useless, closed=closed)


def _fail(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    found = tuple(trials)
    for trial in found:
        trial.is_useful = False
    return found


def _end_s(trial: Trial) -> float:
    if trial.kind == "warm" and trial.level == "answer":
        return max(trial.real_until_s, trial.shadow_until_s)  # then the key is as if it had never been warmed
    return trial.until_s


def _judge(trial: Trial, event: Event) -> bool:
    """Count what `event` says; return whether it makes the trial useful."""
    if trial.kind == "warm" and trial.level == "answer":
        return _against_shadow(trial, event)
    is_miss_in_time = not event.was_hit and trial.shadow_until_s <= event.at_s <= trial.until_s
    if trial.is_useful is True or not is_miss_in_time:
        return False
    if trial.kind != "warm" and trial.is_useful is False:
        return False  # too late for what is only watched
    trial.is_useful = True
    trial.lead_s = event.at_s - trial.at_s
    if trial.kind == "warm":
        trial.saved_nanousd = trial.saves_nanousd
    return True


def _against_shadow(trial: Trial, event: Event) -> bool:
    shadow_misses = event.at_s > trial.shadow_until_s
    if shadow_misses:
        trial.shadow_until_s = event.at_s + event.ttl_s
    if not event.was_hit:
        trial.real_until_s = event.at_s + event.ttl_s
    change = int(shadow_misses) - int(not event.was_hit)
    if not change:
        return False
    trial.removed += change
    trial.saved_nanousd += change * trial.saves_nanousd
    trial.saved_wait_s += max(0.0, trial.saves_wait_s - event.waited_s) if change > 0 else -event.waited_s
    if change < 0 or trial.is_useful is True or event.at_s > trial.until_s:
        return False
    trial.is_useful = True
    trial.lead_s = event.at_s - trial.at_s
    return True
