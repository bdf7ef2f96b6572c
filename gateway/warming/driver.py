"""Runs the warmer while this process leads: renews the lease, steps, tells metrics, and stops at once where it must.

One of many; the others wait. Must not decide what is warmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.metrics import Metrics
from gateway.ports import Clock, StoreUnavailable
from gateway.published import FIGURES
from gateway.published import dump as published
from gateway.supervisor import Supervisor
from gateway.warming.asker import FlowAsker
from gateway.warming.day import DaySpend, dump, load
from gateway.warming.gate import BudgetGate, Debit
from gateway.warming.leader import Leadership
from gateway.warming.notes import RedisNotes
from gateway.warming.shelf import Shelf
from gateway.warming.telling import FOLLOWS, told_of_figures, told_of_step
from gateway.warming_series import Told
from warmer.ports import HistoryUnavailable
from warmer.recorder import Recorder
from warmer.results import Considered, Stepped
from warmer.types import Announcement
from warmer.warmer import Warmer, WarmerPorts, WarmerRules

SPEND: Final = "spend"

Listen = Callable[[Sequence[Considered]], None]
"""Hears what each step considered."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often: between steps, between looks for the lead, between figures, between saves."""

    step_s: float = 1.0
    away_s: float = 0.5
    figures_s: float = 5.0
    save_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What the driver works with. `recorder` makes one that reads the history anew and tells the sums of it."""

    leadership: Leadership
    notes: RedisNotes
    asker: FlowAsker
    gate: Callable[[DaySpend], BudgetGate]
    recorder: Callable[[DaySpend], Recorder]
    shelf: Shelf
    metrics: Metrics
    clock: Clock
    supervisor: Supervisor
    rules: WarmerRules
    pace: Pace


@dataclass(slots=True, kw_only=True)
class Reign:
    """One time of leading: the warmer as it was restored at its beginning, and what the ledger said of spend."""

    warmer: Warmer[Debit]
    recorder: Recorder
    day: DaySpend
    number: int
    saved_at_s: float


class Driver:
    """See the module. Owner of the reign and of the step under way."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._reign: Reign | None = None
        self._stepping: asyncio.Task[Stepped | HistoryUnavailable] | None = None
        self._figures_due_s = float("-inf")
        self._is_away = False
        self._did_lead = False
        self.listeners: list[Listen] = []
        self.forgetters: list[Callable[[], None]] = []

    def announce(self, announcement: Announcement) -> bool:
        """Tell the warmer what a client says it will ask; False where it does not lead, or too much waits already."""
        return self._reign is not None and self._reign.warmer.announce(announcement)

    async def renew(self) -> None:
        """Keep or take the lead, and end what must not go on. Called every second, beside a step that takes longer."""
        leads = await self._crew.leadership.renew()
        if leads != self._did_lead:
            self._did_lead = leads
            log.info("warmer leads" if leads else "warmer follows: another one leads, or redis is away")
        if not leads:
            self._lose()
        stopped = self._crew.asker.stop_what_is_off()
        if stopped:
            self._crew.metrics.warmer_told(Told(counts=(("foreword_warmer_stopped", (), stopped),)))

    async def run(self) -> None:
        """Step for ever, while this one leads; cancelling ends it, and what was learnt since the last save is lost."""
        while True:
            if not self._crew.leadership.is_held:
                self._crew.metrics.warmer_told(FOLLOWS)
                await self._crew.clock.sleep(self._crew.pace.away_s)
                continue
            is_behind = await self._once()
            if not is_behind:
                await self._crew.clock.sleep(self._crew.pace.step_s)

    async def close(self) -> None:
        """Save what was learnt, and let another lead at once."""
        self._lose(forget=False)
        self._did_lead = False
        reign, self._reign = self._reign, None
        try:
            if reign is not None and self._crew.leadership.is_held:
                await reign.warmer.save(self._crew.clock.now())
                await self._crew.notes.save(SPEND, dump(reign.day))
        except HistoryUnavailable as error:
            log.warning("warmer: what was learnt last is not saved", reason=str(error))
        await self._crew.leadership.release()

    def forget(self) -> None:
        """Begin again from the notes: something of what is in memory had to go."""
        self._lose()
        for forget in self.forgetters:
            forget()

    async def _once(self) -> bool:
        """Take one step; return whether there is more to read at once."""
        try:
            reign = await self._ruling()
            stepped = await self._step(reign)
            if stepped is None:
                return False
            await self._after(reign, stepped)
        except HistoryUnavailable as error:
            if not self._is_away:
                log.warning("warmer waits", reason=str(error))
            self._is_away = True
            return False
        if self._is_away:
            log.info("warmer goes on")
        self._is_away = False
        return not stepped.is_at_end

    async def _step(self, reign: Reign) -> Stepped | None:
        """Step in a task of its own, which is ended where the lead is lost: None then."""

        async def step() -> Stepped | HistoryUnavailable:
            try:
                return await reign.warmer.step(self._crew.clock.now())
            except HistoryUnavailable as error:
                return error

        stepping = self._stepping = self._crew.supervisor.spawn(step(), name="warmer-step")
        try:
            await asyncio.wait({stepping})
        finally:
            stepping.cancel()
            self._stepping = None
        if stepping.cancelled():
            return None
        found = stepping.result()
        if isinstance(found, HistoryUnavailable):
            raise found
        return found

    async def _after(self, reign: Reign, stepped: Stepped) -> None:
        crew, now_s = self._crew, self._crew.clock.now()
        crew.metrics.warmer_told(told_of_step(stepped, now_s=now_s, window_events=reign.recorder.size))
        for listen in self.listeners:
            listen(stepped.considered)
        for tenant, key in stepped.displaced:
            try:
                await crew.shelf.drop_unused(tenant, key)
            except StoreUnavailable:
                break  # it ends by itself
        if now_s >= self._figures_due_s:
            self._figures_due_s = now_s + crew.pace.figures_s
            figures = await asyncio.to_thread(reign.warmer.figures, now_s)
            crew.metrics.warmer_told(told_of_figures(figures))
            await crew.notes.save(FIGURES, published(figures))
        if now_s - reign.saved_at_s >= crew.pace.save_s:
            reign.saved_at_s = now_s
            await crew.notes.save(SPEND, dump(reign.day))

    async def _ruling(self) -> Reign:
        """Return the reign, a new one where this warmer has not led before: from the notes, as all before left them."""
        crew = self._crew
        number = crew.leadership.reign
        if self._reign is not None and self._reign.number == number:
            return self._reign
        day = load(await crew.notes.load(SPEND))
        recorder = crew.recorder(day)
        ports = WarmerPorts(recorder=recorder, notes=crew.notes, asker=crew.asker, gate=crew.gate(day))
        self._reign = Reign(
            warmer=Warmer(ports, rules=crew.rules),
            recorder=recorder,
            day=day,
            number=number,
            saved_at_s=crew.clock.now(),
        )
        return self._reign

    def _lose(self, *, forget: bool = True) -> None:
        if self._stepping is not None:
            self._stepping.cancel()
        if forget:
            self._reign = None
