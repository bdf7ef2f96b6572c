"""What the warmer needs from others: the history of requests, notes over restarts, prices and answers, and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from warmer.types import (
    Crowded,
    Entry,
    Event,
    Level,
    Mark,
    Position,
    Prediction,
    PredictorName,
    Quote,
    Recipe,
    Terms,
    Warmed,
)


class HistoryUnavailable(Exception):
    """The history cannot be read or the bookmark not kept now; try again later, nothing is lost."""


class History(Protocol):
    """Everything that was asked, oldest first; old entries disappear."""

    async def read(self, *, after: Position, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries after `after`, in order; fewer mean the end of now.

        Raises HistoryUnavailable. Cancel has no effect on the history.
        """
        ...


class Bookmark(Protocol):
    """Remembers one Mark over restarts."""

    async def load(self) -> Mark | None:
        """Return the last mark saved, None before the first. Raises HistoryUnavailable."""
        ...

    async def save(self, mark: Mark) -> None:
        """Replace the mark. Raises HistoryUnavailable; then, and on cancel, the old or the new one is kept."""
        ...


class Notes(Protocol):
    """Remembers what was learnt, by name, over restarts. The warmer that leads is the only writer."""

    async def load(self, name: str) -> bytes | None:
        """Return what was saved last under `name`. Raises HistoryUnavailable."""
        ...

    async def save(self, name: str, value: bytes) -> None:
        """Replace it. Raises HistoryUnavailable; then, and on cancel, the old or the new one is kept."""
        ...


class Asker(Protocol):
    """Prices predicted requests and has them answered, through the same flow as everybody's."""

    async def quote(self, tenant: str, recipe: Recipe) -> Quote | None:
        """Return what it comes to; None where it may not be asked: its text is gone, or warming it is not allowed."""
        ...

    async def warm(
        self, tenant: str, recipe: Recipe, *, level: Level, predictor: PredictorName
    ) -> Warmed | Crowded | None:
        """Ask it, at lowest priority and the policy's tier, and have the answer kept; None where nobody was asked.

        On cancel the call is given up; what it cost so far is in its Outcome.
        """
        ...


class Predictor(Protocol):
    """Learns from one tenant's requests which answers will be wanted; its memory is bounded. A row of predictors/."""

    def observe(self, event: Event) -> None:
        """Learn from the next request."""
        ...

    def predict(self, now_s: float, fresh_until_s: Mapping[str, float], /) -> Sequence[Prediction]:
        """Return what will be wanted, by this predictor's own reckoning, the most probable first, a bounded number.

        `fresh_until_s` is until when the cache is thought to have an answer, by key. Nothing is learnt from it.
        """
        ...

    def dump(self) -> bytes:
        """Return what was learnt."""
        ...

    def restore(self, learnt: bytes) -> None:
        """Go on from there; what cannot be read, or is of another version, is as if nothing had been learnt."""
        ...


DebitT = TypeVar("DebitT")


class SpendGate(Protocol[DebitT]):
    """The warming budgets of all replicas together, in integers; what is debited cannot be spent twice."""

    async def terms(self, tenant: str) -> Terms | None:
        """Return what the tenant's policy allows now; None: warming is off, or cannot be checked."""
        ...

    async def debit(self, tenant: str, bound_nanousd: int) -> DebitT | None:
        """Take the most that a call may cost, before it is made; None where that is more than is left."""
        ...

    def settle(self, debit: DebitT, cost_nanousd: int) -> None:
        """Give back what a call did not cost. Call it once; a debit that is never settled is charged in full."""
        ...
