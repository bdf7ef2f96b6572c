"""Everything learnt of one tenant: predictors, their calibration and standing, what is fresh, what warming has cost.

Must not ask or spend, and sees no other tenant's requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from warmer.admission import Admission
from warmer.budget import Spent
from warmer.calibration import Calibration, Open, Reliability
from warmer.judge import Judge, new_judge
from warmer.ports import Predictor
from warmer.results import Standing
from warmer.state import dump, restore
from warmer.targets import target_of, targets_of
from warmer.trials import Trial
from warmer.types import (
    LEVELS,
    PREDICTOR_NAMES,
    START,
    Announcement,
    Event,
    Known,
    Level,
    Position,
    Prediction,
    PredictorName,
    Recipe,
    Written,
)

VERSION = 1
_MOST_FRESH = 4096
_MOST_ANNOUNCED = 1024
_SURE = 0.975
_IMAGINED = 4.0
"""What an announcement counts for until outcomes say otherwise, and how many outcomes that is worth."""
_SOONEST_S = 30.0


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """What a client said at `at_s` will be wanted; `like` is empty for a Known request, `key` for a Written one."""

    at_s: float
    due_at_s: float
    until_s: float
    level: Level
    key: str = ""
    like: str = ""
    question: str = ""
    about: str = ""
    attachment: str = ""

    def prediction(self, tenant: str, *, now_s: float, comes: float) -> Prediction:
        """Return it as a prediction, where a share of `comes` of such announcements comes true.

        Half of those come by the time that was said, and later the others, by a log-logistic law: what has not come
        long after its time is ever less likely to.
        """
        overdue = (now_s - self.at_s) / max(_SOONEST_S, self.due_at_s - self.at_s)
        still = comes / (1.0 + max(0.0, overdue) ** 2)
        recipe: Recipe = Known(key=self.key)
        if self.like:
            recipe = Written(like=self.like, question=self.question, about=self.about)
        return Prediction(
            tenant=tenant,
            recipe=recipe,
            predictor="announced",
            probability=still / (still + 1.0 - comes),
            due_at_s=max(now_s, self.due_at_s),
            until_s=self.until_s,
            level=self.level,
            attachment=self.attachment,
        )


def announced_of(one: Announcement, at_s: float) -> Announced:
    """Return an announcement as it is kept."""
    recipe = one.recipe
    return Announced(
        at_s=at_s,
        due_at_s=one.due_at_s,
        until_s=one.until_s,
        level=one.level,
        key=recipe.key if isinstance(recipe, Known) else "",
        like="" if isinstance(recipe, Known) else recipe.like,
        question="" if isinstance(recipe, Known) else recipe.question,
        about="" if isinstance(recipe, Known) else recipe.about,
        attachment=one.attachment,
    )


class Learnt(msgspec.Struct, kw_only=True):
    """What is kept over restarts: `position` is the last event learnt, `batch` the last batch of asks that is in it."""

    position: Position = START
    batch: int = 0
    predictors: dict[str, bytes] = msgspec.field(default_factory=dict)
    calibrations: dict[str, Calibration] = msgspec.field(default_factory=dict)
    judges: dict[str, Judge] = msgspec.field(default_factory=dict)
    admission: Admission = msgspec.field(default_factory=Admission)
    spent: Spent = msgspec.field(default_factory=Spent)
    fresh_until_s: dict[str, float] = msgspec.field(default_factory=dict)
    announced: dict[str, Announced] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A prediction with the chance that its predictor's outcomes bear out."""

    prediction: Prediction
    target: str
    probability: float


class Learner:
    """One tenant."""

    def __init__(
        self, tenant: str, predictors: Mapping[PredictorName, Callable[[str], Predictor]], saved: bytes | None
    ) -> None:
        self.tenant = tenant
        self.learnt = restore(saved, Learnt, version=VERSION) or Learnt()
        self._predictors = {name: build(tenant) for name, build in predictors.items()}
        for name, predictor in self._predictors.items():
            if name in self.learnt.predictors:
                predictor.restore(self.learnt.predictors[name])

    def dump(self) -> bytes:
        """Return everything learnt."""
        self.learnt.predictors = {name: predictor.dump() for name, predictor in self._predictors.items()}
        return dump(self.learnt, version=VERSION)

    def observe(self, position: Position, event: Event) -> bool:
        """Learn from a request; return False, and learn nothing, where it has been learnt before."""
        learnt = self.learnt
        if position <= learnt.position:
            return False
        learnt.position = position
        targets = targets_of(event)
        for calibration in learnt.calibrations.values():
            calibration.saw(targets, event.at_s)
        for target in targets:
            self.done(target)
        if event.ttl_s > 0:
            self.keep(event.key, event.at_s - event.age_s + event.ttl_s)
        learnt.admission.asked(event.key)
        for predictor in self._predictors.values():
            predictor.observe(event)
        return True

    def keep(self, key: str, until_s: float) -> None:
        """Note that the cache has an answer until then."""
        fresh = self.learnt.fresh_until_s
        fresh.pop(key, None)
        fresh[key] = until_s
        if len(fresh) > _MOST_FRESH:
            del fresh[next(iter(fresh))]

    def announce(self, announced: Announced) -> bool:
        """Take what a client says; said again, it counts from then on. False where there are too many already."""
        name = target_of(announced.prediction(self.tenant, now_s=announced.at_s, comes=_SURE))
        ones = self.learnt.announced
        if name not in ones and len(ones) >= _MOST_ANNOUNCED:
            return False
        ones[name] = announced
        return True

    def done(self, target: str) -> None:
        """Forget an announcement that has come true, or been dealt with; whether it was right is still watched."""
        self.learnt.announced.pop(target, None)

    def predict(self, now_s: float) -> Sequence[Scored]:
        """Return what will be wanted, each target once, by whoever is surest of it, the most probable first."""
        learnt = self.learnt
        for calibration in learnt.calibrations.values():
            calibration.expire(now_s)
        for target in [target for target, one in learnt.announced.items() if one.until_s < now_s]:
            del learnt.announced[target]
        comes = self._comes()
        said = [one.prediction(self.tenant, now_s=now_s, comes=comes) for one in learnt.announced.values()]
        for predictor in self._predictors.values():
            said.extend(predictor.predict(now_s, learnt.fresh_until_s))
        best: dict[str, Scored] = {}
        for prediction in said:
            scored = self._score(prediction)
            known = best.get(scored.target)
            if known is None or scored.probability > known.probability:
                best[scored.target] = scored
        return sorted(best.values(), key=lambda one: -one.probability)

    def _comes(self) -> float:
        """Return the share of announcements that come true; never all of them."""
        found = self.learnt.calibrations.get("announced answer", Calibration())
        return min(_SURE, (found.came + _IMAGINED * _SURE) / (found.n + _IMAGINED))

    def _score(self, prediction: Prediction) -> Scored:
        name = f"{prediction.predictor} {prediction.level}"
        calibration = self.learnt.calibrations.get(name)
        if calibration is None:
            calibration = self.learnt.calibrations[name] = Calibration()
        target, said = target_of(prediction), prediction.probability
        given = calibration.chance(said)

        opened = Open(from_s=prediction.from_s, until_s=prediction.until_s, said=said, given=given)
        calibration.expect(target, opened)
        return Scored(prediction=prediction, target=target, probability=given)

    def judge(self, predictor: PredictorName, level: Level) -> Judge:
        """Return who decides whether that predictor may spend."""
        name = f"{predictor} {level}"
        judge = self.learnt.judges.get(name)
        if judge is None:
            judge = self.learnt.judges[name] = new_judge(is_announced=predictor == "announced")
        return judge

    def learn_outcome(self, trial: Trial) -> None:
        """Tell what became of a warm, or of what was only watched."""
        judge = self.judge(trial.predictor, trial.level)
        judge.outcome(useful=trial.is_useful is True, was_warmed=trial.kind == "warm")

    def reliability(self) -> dict[PredictorName, Reliability]:
        """Return how good the chances of answers are that this tenant's predictors give."""
        return {
            name: self.learnt.calibrations[f"{name} answer"].reliability()
            for name in PREDICTOR_NAMES
            if f"{name} answer" in self.learnt.calibrations
        }

    def standings(self, now_s: float) -> list[Standing]:
        """Return who may spend now."""
        found = []
        for name in PREDICTOR_NAMES:
            for level in LEVELS:
                judge = self.learnt.judges.get(f"{name} {level}")
                if judge is not None:
                    found.append(
                        Standing(
                            tenant=self.tenant,
                            predictor=name,
                            level=level,
                            verdict=judge.verdict(now_s),
                            precision_low=judge.precision().bounds[0],
                            ratio=judge.ratio,
                        )
                    )
        return found
