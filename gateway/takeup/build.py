"""Wires what takes up announcements beside a warmer, from the parts of the gateway that this works with."""

from __future__ import annotations

from typing import Final

from gateway.announced.shelf import DUE, Shelf
from gateway.takeup.experience import Experience
from gateway.takeup.keeping import Beside
from gateway.takeup.ports import TakeupPorts
from gateway.takeup.preparing import Preparer
from gateway.takeup.serving import PATIENCE_S, Takeup
from gateway.takeup.sketching import Sketcher
from gateway.warming.build import Warming
from gateway.warming_series import Told
from gateway.worker import Worker

ITEMS: Final = "foreword_announced_items"


def build_takeup(built: Worker, warming: Warming, *, due: str = DUE, patience_s: float = PATIENCE_S) -> Takeup:
    """Make it, and let it hear what each step of the warmer comes to. Opens no connection."""
    services, store = built.services, warming.store
    clock = services.clock
    sketcher = Sketcher(
        flow=services.flow, catalogue=services.deployments.catalogue, experience=Experience(store, clock)
    )
    ports = TakeupPorts(
        prepares=Preparer(sketcher=sketcher, interactions=services.interactions, limits=services.limits, clock=clock),
        keeps=Beside(store=store, keeper=built.parts.keeper),
        quotes=warming.asker,
        announce=warming.driver.announce,
        tell=lambda result: services.metrics.warmer_told(Told(counts=((ITEMS, (result,), 1),))),
    )
    takeup = Takeup(Shelf(store, clock, due=due), ports, clock=clock, patience_s=patience_s)
    warming.driver.listeners.append(takeup.heard)
    warming.driver.forgetters.append(takeup.forget)
    warming.asker.is_hurried = takeup.is_hurried
    return takeup
