"""The warmer's step: record, predict, price, choose by value per dollar, ask within the budget, and keep account.

Must not serve requests. Everything it knows is bounded, and saved through Notes; what it is about to ask is noted
before it asks, so that a crash repeats no spend.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from warmer.asking import Asked, Asking
from warmer.calibration import Reliability
from warmer.choosing import Priced, choose
from warmer.evaluate import Evaluation
from warmer.figures import Figures
from warmer.journal import NAME as INTENTS
from warmer.journal import Intent, Journal, journal_of
from warmer.learner import Learner, announced_of
from warmer.ports import Asker, DebitT, Notes, Predictor, SpendGate
from warmer.predictors import PREDICTORS
from warmer.pricing import Pricing, considered_as
from warmer.recorder import Recorder
from warmer.results import Considered, Standing, Stepped
from warmer.state import dump, restore
from warmer.trials import Trial
from warmer.types import Announcement, PredictorName

VERSION = 1
EVALUATION = "evaluation"
_PAGES = 20
_WAITING = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmerRules:
    """How much is done at once. `salt` chooses the keys that are held out; another one chooses others."""

    concurrency: int = 4
    quotes_per_step: int = 64
    asks_per_step: int = 32
    max_tenants: int = 64
    save_every_s: float = 60.0
    salt: str = ""
    predictors: Mapping[PredictorName, Callable[[str], Predictor]] = field(default_factory=lambda: PREDICTORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmerPorts(Generic[DebitT]):
    """What the warmer works with."""

    recorder: Recorder
    notes: Notes
    asker: Asker
    gate: SpendGate[DebitT]


class Warmer(Generic[DebitT]):
    """The one warmer that leads. Call `step` again and again; every call is bounded."""

    def __init__(self, ports: WarmerPorts[DebitT], *, rules: WarmerRules) -> None:
        self._ports = ports
        self._rules = rules
        self._asking = Asking(ports.asker, ports.gate, concurrency=rules.concurrency)
        self._learners: dict[str, Learner] = {}
        self._evaluation = Evaluation()
        self._journal = Journal()
        self._is_restored = False
        self._is_at_end = False
        self._saved_at_s: float | None = None
        self._announced: deque[Announcement] = deque()
        self._pricing = Pricing(ports.asker, quotes_per_step=rules.quotes_per_step)

    def announce(self, announcement: Announcement) -> bool:
        """Take what a client says will be wanted; False where too many wait. Kept over a restart from the next save
        on."""
        if len(self._announced) >= _WAITING:
            return False
        self._announced.append(announcement)
        return True

    async def step(self, now_s: float) -> Stepped:
        """Follow the history to its end, then warm what is worth it. `now_s` is Unix seconds.

        Raises HistoryUnavailable: nothing was asked that was not noted; call again. On cancel calls in the air are
        given up and stay charged at worst case.
        """
        await self._restore(now_s)
        events, newest_at_s = await self._follow()
        considered: list[Considered] = []
        displaced: list[tuple[str, str]] = []
        if self._is_at_end:
            self._expire(now_s)
            await self._take_announcements(now_s)
            for learner in list(self._learners.values()):
                considered.extend(await self._serve(learner, now_s, displaced))
        if self._saved_at_s is None or now_s - self._saved_at_s >= self._rules.save_every_s:
            await self.save(now_s)
        return Stepped(
            events=events,
            newest_at_s=newest_at_s,
            is_at_end=self._is_at_end,
            considered=tuple(considered),
            displaced=tuple(displaced),
        )

    def figures(self, now_s: float) -> Figures:
        """Return what warming was good for."""
        found: dict[PredictorName, Reliability] = {}
        for learner in self._learners.values():
            for name, one in learner.reliability().items():
                if name not in found or one.n > found[name].n:
                    found[name] = one
        return self._evaluation.figures(now_s, found)

    def standings(self, now_s: float) -> Sequence[Standing]:
        """Return who may spend now."""
        return [one for learner in self._learners.values() for one in learner.standings(now_s)]

    async def save(self, now_s: float) -> None:
        """Save everything; intents that are in it are forgotten then. Raises HistoryUnavailable: call again."""
        for learner in self._learners.values():
            learner.learnt.batch = self._journal.batch
            await self._ports.notes.save(f"tenant {learner.tenant}", learner.dump())
        self._evaluation.batch = self._journal.batch
        await self._ports.notes.save(EVALUATION, dump(self._evaluation, version=VERSION))
        self._journal.intents.clear()
        self._saved_at_s = now_s

    async def _restore(self, now_s: float) -> None:
        if self._is_restored:
            return
        self._journal = journal_of(await self._ports.notes.load(INTENTS))
        saved = await self._ports.notes.load(EVALUATION)
        self._evaluation = restore(saved, Evaluation, version=VERSION) or Evaluation()
        for intent in self._journal.intents:
            if intent.batch > self._evaluation.batch:
                self._evaluation.start(intent.trial)
        self._saved_at_s = now_s
        self._is_restored = True

    async def _learner(self, tenant: str) -> Learner:
        """Return the tenant's, as it was saved, with what was asked since then charged and taken for done."""
        learner = self._learners.pop(tenant, None)
        if learner is None:
            learner = Learner(tenant, self._rules.predictors, await self._ports.notes.load(f"tenant {tenant}"))
            for intent in self._journal.intents:
                if intent.trial.tenant == tenant and intent.batch > learner.learnt.batch:
                    learner.learnt.spent.debit(intent.bound_nanousd, intent.trial.at_s)
                    learner.keep(intent.key, intent.trial.until_s)
                    until_s = intent.trial.until_s
                    self._pricing.decline(tenant, intent.target, until_s=until_s, probability=1.0)
        self._learners[tenant] = learner
        if len(self._learners) > self._rules.max_tenants:
            oldest = self._learners.pop(next(iter(self._learners)))
            oldest.learnt.batch = self._journal.batch
            await self._ports.notes.save(f"tenant {oldest.tenant}", oldest.dump())
        return learner

    async def _follow(self) -> tuple[int, float | None]:
        events, newest_at_s = 0, None
        for _ in range(_PAGES):
            recorded = await self._ports.recorder.step()
            for position, event in recorded.read:
                learner = await self._learner(event.tenant)
                learner.observe(position, event)
                if position > self._evaluation.position:
                    self._evaluation.position = position
                    self._tell(self._evaluation.saw(event))
            events += recorded.events
            newest_at_s = recorded.newest_at_s or newest_at_s
            self._is_at_end = recorded.is_at_end
            if recorded.is_at_end:
                break
        return events, newest_at_s

    def _tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            learner = self._learners.get(trial.tenant)
            if learner is not None:
                learner.learn_outcome(trial)

    def _expire(self, now_s: float) -> None:
        self._tell(self._evaluation.expire(now_s))

    async def _take_announcements(self, now_s: float) -> None:
        while self._announced:
            one = self._announced[0]
            learner = await self._learner(one.tenant)
            learner.announce(announced_of(one, now_s))
            self._announced.popleft()

    async def _serve(self, learner: Learner, now_s: float, displaced: list[tuple[str, str]]) -> list[Considered]:
        terms = await self._ports.gate.terms(learner.tenant)
        if terms is None:
            return []
        trials = self._evaluation.trials
        found, considered = await self._pricing.price(learner, terms, trials=trials, now_s=now_s)
        chosen = choose(learner, found, terms, now_s=now_s, salt=self._rules.salt)
        for one, result in chosen.left_out:
            self._pricing.put_off(learner, one.scored, now_s, why=result)
            predictor = one.scored.prediction.predictor
            if not trials.is_warm(one.name, now_s) and not trials.is_watched(one.name, predictor, now_s):
                self._tell(self._evaluation.start(one.trial("held" if result == "held_out" else "paper", now_s)))
            considered.append(considered_as(one.scored, result, key=one.quote.key))
        picks = chosen.picks[: self._rules.asks_per_step]
        for one in chosen.picks[len(picks) :]:
            learner.judge(one.scored.prediction.predictor, one.choice.level).not_tried()
        if picks:
            await self._note(picks, now_s)
            for asked in await self._asking.ask_all(learner, picks, now_s):
                considered.append(self._book(learner, asked, now_s, displaced))
        return considered

    async def _note(self, picks: Sequence[Priced], now_s: float) -> None:
        self._journal.batch += 1
        self._journal.intents.extend(
            Intent(
                batch=self._journal.batch,
                key=one.quote.key,
                target=one.scored.target,
                bound_nanousd=one.quote.bound_nanousd,
                trial=one.trial("warm", now_s),
            )
            for one in picks
        )
        await self._ports.notes.save(INTENTS, self._journal.dump())

    def _book(self, learner: Learner, asked: Asked, now_s: float, displaced: list[tuple[str, str]]) -> Considered:
        """Keep account of one ask. What was paid and not kept is a warm that cannot be useful."""
        one, warmed = asked.priced, asked.warmed
        key = one.quote.key
        if warmed is None:
            learner.judge(one.scored.prediction.predictor, one.choice.level).not_tried()
            self._pricing.put_off(learner, one.scored, now_s, why=asked.result)
            return considered_as(one.scored, asked.result, key=key)
        trial = one.trial("warm", now_s)
        trial.cost_nanousd = warmed.cost_nanousd
        if trial.level == "answer":
            trial.name = f"{learner.tenant} {warmed.key}"
        if warmed.is_kept:
            trial.until_s = now_s + (warmed.ttl_s or one.choice.ttl_s)
            trial.real_until_s, trial.due_s = trial.until_s, min(trial.due_s, trial.until_s)
        else:
            trial.until_s = trial.real_until_s = trial.due_s = now_s
            self._pricing.put_off(learner, one.scored, now_s, why=asked.result)
        self._tell(self._evaluation.start(trial))
        if warmed.is_kept and one.choice.level == "answer":
            learner.keep(warmed.key, trial.until_s)
            victim = learner.learnt.admission.warmed(
                warmed.key, probability=one.choice.probability, until_s=trial.until_s, now_s=now_s
            )
            if victim is not None:
                displaced.append((learner.tenant, victim))
        learner.done(one.scored.target)
        return considered_as(one.scored, asked.result, key=key, cost_nanousd=warmed.cost_nanousd)
