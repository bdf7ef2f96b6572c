"""Wires the warmer of a process from the parts of a gateway that does not listen. Nothing else constructs its parts.

Mutable state and its owners: the lead - Leadership; the reign and the step - Driver; calls and quotes - FlowAsker;
texts read - Texts; sums of spend - DaySpend; keys - Callers.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from gateway.http.auth import LOOPBACK
from gateway.ports import StoreUnavailable
from gateway.retained.kept import NOTES, learnt_of
from gateway.stores.redis import RedisStore
from gateway.warming.asker import FlowAsker, Surroundings
from gateway.warming.callers import Callers
from gateway.warming.day import DaySpend
from gateway.warming.driver import Crew, Driver, Pace
from gateway.warming.erasures import Erasures
from gateway.warming.gate import BudgetGate
from gateway.warming.history import LedgerHistory
from gateway.warming.leader import LEASE_S, Leadership
from gateway.warming.notes import RedisBookmark, RedisNotes
from gateway.warming.patient import PatientFlow
from gateway.warming.room import Room
from gateway.warming.shelf import Shelf
from gateway.warming.texts import Texts
from gateway.warming.wanted import Wishes
from gateway.worker import Worker
from warmer.recorder import Recorder
from warmer.warmer import WarmerRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """What a process that warms runs: the driver, and what others of its room may use."""

    driver: Driver
    leadership: Leadership
    asker: FlowAsker
    texts: Texts
    erasures: Erasures
    store: RedisStore

    async def hear(self) -> None:
        """Forget what an erased tenant has left in memory, and what was written of it meanwhile."""
        for tenant in await self.erasures.heard():
            self.texts.forget(tenant)
            self.driver.forget()
            try:
                await self.store.hash_delete(NOTES, learnt_of(tenant))
            except StoreUnavailable:
                continue


def build_warming(built: Worker, store: RedisStore, *, pace: Pace | None = None, lease_s: float = LEASE_S) -> Warming:
    """Make the warmer's parts beside those of `built`, whose store is `store`. Opens no connection."""
    services, parts = built.services, built.parts
    clock, book = services.clock, services.book
    leadership = Leadership(store, clock, token=secrets.token_hex(12).encode(), lease_s=lease_s)
    notes, shelf = RedisNotes(store, leadership), Shelf(store)
    texts = Texts(store, is_wanted=lambda tenant: book.current().for_tenant(tenant).warming is not None)
    asker = FlowAsker(_surroundings(built, shelf, leadership))

    def recorder(day: DaySpend) -> Recorder:
        return Recorder(LedgerHistory(store, texts, watch=day.watch), RedisBookmark(notes))

    def gate(day: DaySpend) -> BudgetGate:
        budgets = built.spend.budgets
        return BudgetGate(budgets, clock, policies=book.current, day=day, may_spend=lambda: leadership.is_held)

    crew = Crew(
        leadership=leadership,
        notes=notes,
        asker=asker,
        gate=gate,
        recorder=recorder,
        shelf=shelf,
        metrics=services.metrics,
        clock=parts.clock,
        supervisor=built.supervisor,
        rules=WarmerRules(),
        pace=pace or Pace(),
    )
    return Warming(
        driver=Driver(crew),
        leadership=leadership,
        asker=asker,
        texts=texts,
        erasures=Erasures(store),
        store=store,
    )


def _surroundings(built: Worker, shelf: Shelf, leadership: Leadership) -> Surroundings:
    services, settings = built.services, built.services.settings
    room = Room(
        traffic=built.watch.traffic,
        deployments=lambda: services.deployments.usable,
        loads=built.loads,
        clock=built.parts.clock,
    )
    flow = PatientFlow(built.parts, room, shelf)
    nobody = LOOPBACK if settings.allow_unauthenticated_loopback else None
    return Surroundings(
        wishes=Wishes(
            flow=flow,
            interactions=services.interactions.through(flow),
            shelf=shelf,
            limits=services.limits,
            clock=services.clock,
        ),
        shelf=shelf,
        callers=Callers(services.keys, services.clock, without_key=nobody),
        room=room,
        supervisor=built.supervisor,
        policies=services.book.current,
        catalogue=services.deployments.catalogue,
        may_spend=lambda: leadership.is_held,
    )
