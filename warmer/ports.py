"""What the warmer needs from others: the history of requests, and a place for its bookmark.

Asking for answers and spending (Ask, SpendGate) come with the first predictor that uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from warmer.types import Entry, Mark, Position


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
