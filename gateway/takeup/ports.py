"""What announced items go through on their way to the warmer and back; protocols and a bundle of them, no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.announced.records import Announcement, Item, ItemResult
from gateway.takeup.preparing import Prepared
from warmer.types import Announcement as Prediction
from warmer.types import Known, Quote

Tell = Callable[[ItemResult], None]
Announce = Callable[[Prediction], bool]


class Prepares(Protocol):
    """Turns an item into a request that the warmer can price."""

    async def prepare(self, announcement: Announcement, item: Item) -> Prepared:
        """Raises NotAllowed, StoreUnavailable."""
        ...


class Quotes(Protocol):
    """The part of warmer.ports.Asker that is used here."""

    async def quote(self, tenant: str, recipe: Known) -> Quote | None: ...


class Keeps(Protocol):
    """Keeps prepared requests where the warmer finds them, without replacing what is known of one that was asked."""

    async def keep(self, prepared: Prepared, *, ttl_s: float) -> None:
        """Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeupPorts:
    """What items go through. `announce` is Warmer.announce; `tell` hears of every item's end, once."""

    prepares: Prepares
    keeps: Keeps
    quotes: Quotes
    announce: Announce
    tell: Tell
