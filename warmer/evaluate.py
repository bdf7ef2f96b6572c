"""What warming was good for, measured against what would have been without it, with intervals. Must not decide
anything.

Two measurements that share nothing but the requests. **Shadow**: each warm against the cache without it (trials.py).
**Hold-out**: keys chosen by chance that are never warmed; what would have been warmed of them, and whether somebody
then had to wait. All intervals are of 95 %: shares have Wilson's, their differences Newcombe's, the others come from a
Poisson bootstrap: of warms over days of a key (where one key is most of the traffic, keys would say nothing), of
requests inside and outside the hold-out over keys, since keys were dealt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from warmer.calibration import Reliability
from warmer.figures import Figures, Holdout, PredictorFigures
from warmer.intervals import Sums, difference, wilson
from warmer.trials import Ended, Trial, Trials
from warmer.types import PREDICTOR_NAMES, START, Event, Position, PredictorName

_WANTED = 4096
_NS = 1e-9
_DAY_S = 86_400.0


class Tally(msgspec.Struct, kw_only=True):
    """Counts of one predictor: of warms, and of what was held out or only watched. Money of closed warms is in
    `sums`."""

    warms: int = 0
    cost_nanousd: int = 0
    resolved: int = 0
    useful: int = 0
    wasted_nanousd: int = 0
    held: int = 0
    held_useful: int = 0
    paper: int = 0
    paper_useful: int = 0
    sums: Sums = msgspec.field(default_factory=Sums)

    def started(self, trial: Trial) -> None:
        """Count a warm as soon as it is paid."""
        if trial.kind == "warm":
            self.warms += 1
            self.cost_nanousd += trial.cost_nanousd

    def resolve(self, trial: Trial) -> None:
        """Count whether it was useful in time."""
        useful = trial.is_useful is True
        if trial.kind == "warm":
            self.resolved += 1
            self.useful += useful
            self.wasted_nanousd += 0 if useful else trial.cost_nanousd
        elif trial.kind == "held":
            self.held += 1
            self.held_useful += useful
        else:
            self.paper += 1
            self.paper_useful += useful

    def came_late(self, trial: Trial) -> None:
        """Count that what was held useless became useful after all."""
        if trial.kind == "warm":
            self.useful += 1
            self.wasted_nanousd -= trial.cost_nanousd

    def close(self, trial: Trial) -> None:
        """Count what it came to in the end."""
        self.sums.add(
            f"{trial.name} {int(trial.at_s // _DAY_S)}",
            closed=1.0,
            removed=trial.removed,
            saved=trial.saved_nanousd * _NS,
            net=(trial.saved_nanousd - trial.cost_nanousd) * _NS,
            wait=trial.saved_wait_s,
            lead=trial.lead_s if trial.is_useful is True else 0.0,
            useful=float(trial.is_useful is True),
        )


class Evaluation(msgspec.Struct, kw_only=True):
    """Everything measured since `since_s`. `wanted` are the keys that were ever worth warming: True where held out.

    `position` is the last event counted, `batch` the last batch of asks that is in it.
    """

    position: Position = START
    batch: int = 0
    since_s: float = 0.0
    requests: int = 0
    by_origin: dict[str, int] = msgspec.field(default_factory=dict)
    hit_waited_s: float = 0.0
    miss_waited_s: float = 0.0
    tallies: dict[str, Tally] = msgspec.field(default_factory=dict)
    trials: Trials = msgspec.field(default_factory=Trials)
    wanted: dict[str, bool] = msgspec.field(default_factory=dict)
    arms: Sums = msgspec.field(default_factory=Sums)

    def saw(self, event: Event) -> Sequence[Trial]:
        """Count a request; return the trials that are found useful by it, in time."""
        self.since_s = self.since_s or event.at_s
        self.requests += 1
        origin = "miss" if not event.was_hit else event.warmed_by or "user"
        self.by_origin[origin] = self.by_origin.get(origin, 0) + 1
        if event.was_hit:
            self.hit_waited_s += event.waited_s
        else:
            self.miss_waited_s += event.waited_s
        name = f"{event.tenant} {event.key}"
        is_held = self.wanted.get(name)
        if is_held is not None:
            arm = "held" if is_held else "open"
            self.arms.add(name, **{f"{arm} requests": 1.0, f"{arm} misses": float(not event.was_hit)})
        return self._count(self.trials.saw(event))

    def start(self, trial: Trial) -> Sequence[Trial]:
        """Follow `trial`; return those that are found useless because it takes their place."""
        self._want(trial)
        self._tally(trial.predictor).started(trial)
        return self._count(self.trials.start(trial))

    def expire(self, now_s: float) -> Sequence[Trial]:
        """Return the trials that are found useless now."""
        return self._count(self.trials.expire(now_s))

    def _count(self, ended: Ended) -> Sequence[Trial]:
        resolved = (*ended.useful, *ended.useless)
        for trial in resolved:
            self._tally(trial.predictor).resolve(trial)
        for trial in ended.late:
            self._tally(trial.predictor).came_late(trial)
        for trial in ended.closed:
            self._tally(trial.predictor).close(trial)
        return resolved

    def _want(self, trial: Trial) -> None:
        if trial.kind == "paper" or trial.level == "prefix":
            return
        self.wanted.setdefault(trial.name, trial.kind == "held")
        if len(self.wanted) > _WANTED:
            del self.wanted[next(iter(self.wanted))]

    def _tally(self, predictor: PredictorName) -> Tally:
        return self.tallies.setdefault(predictor, Tally())

    def figures(self, now_s: float, reliability: Mapping[PredictorName, Reliability]) -> Figures:
        """Return all of it, for metrics and reports."""
        names = [name for name in PREDICTOR_NAMES if name in self.tallies or name in reliability]
        so_far = self._so_far()
        rows = tuple(_row(name, so_far.get(name, Tally()), reliability.get(name)) for name in names)
        misses = self.by_origin.get("miss", 0)
        hits = self.requests - misses
        return Figures(
            since_s=self.since_s,
            at_s=now_s,
            requests=self.requests,
            by_origin=dict(self.by_origin),
            hit_wait_s=self.hit_waited_s / hits if hits else 0.0,
            miss_wait_s=self.miss_waited_s / misses if misses else 0.0,
            predictors=rows,
            total=_row("all", merged(list(so_far.values())), None),
            holdout=self._holdout(),
        )

    def _so_far(self) -> dict[str, Tally]:
        """Return the counts with what warms whose time is not over have come to until now."""
        found = {name: merged([tally]) for name, tally in self.tallies.items()}
        for trial in self.trials.warms.values():
            found.setdefault(trial.predictor, Tally()).close(trial)
        return found

    def _holdout(self) -> Holdout:
        def misses(arm: str) -> Callable[[Callable[[str], float]], float | None]:
            return lambda of: of(f"{arm} misses") / of(f"{arm} requests") if of(f"{arm} requests") else None

        def removed(of: Callable[[str], float]) -> float | None:
            held, opened = misses("held")(of), misses("open")(of)
            return None if held is None or opened is None else held - opened

        return Holdout(
            keys_held=sum(self.wanted.values()),
            keys_open=len(self.wanted) - sum(self.wanted.values()),
            misses_per_request_held=self.arms.estimate(misses("held")),
            misses_per_request_open=self.arms.estimate(misses("open")),
            misses_removed_per_request=self.arms.estimate(removed),
        )


def merged(tallies: list[Tally]) -> Tally:
    """Return the sum of several predictors' counts."""
    total = Tally()
    for one in tallies:
        for field in ("warms", "cost_nanousd", "resolved", "useful", "wasted_nanousd"):
            setattr(total, field, getattr(total, field) + getattr(one, field))
        for field in ("held", "held_useful", "paper", "paper_useful"):
            setattr(total, field, getattr(total, field) + getattr(one, field))
        total.sums.include(one.sums)
    return total


def _row(name: str, tally: Tally, reliability: Reliability | None) -> PredictorFigures:
    precision, held = wilson(tally.useful, tally.resolved), wilson(tally.held_useful, tally.held)
    sums = tally.sums
    return PredictorFigures(
        name=name,
        warms=tally.warms,
        resolved=tally.resolved,
        useful=tally.useful,
        precision=precision,
        held=tally.held,
        precision_held=held,
        precision_difference=difference(precision, held),
        precision_watched=wilson(tally.paper_useful, tally.paper),
        misses_removed=sums.estimate(lambda of: of("removed")),
        misses_removed_per_warm=sums.estimate(lambda of: of("removed") / of("closed") if of("closed") else None),
        cost_usd=tally.cost_nanousd * _NS,
        wasted_usd=tally.wasted_nanousd * _NS,
        saved_usd=sums.estimate(lambda of: of("saved")),
        net_usd=sums.estimate(lambda of: of("net")),
        wait_saved_s=sums.estimate(lambda of: of("wait")),
        lead_s=sums.estimate(lambda of: of("lead") / of("useful") if of("useful") else None),
        reliability=reliability,
    )
