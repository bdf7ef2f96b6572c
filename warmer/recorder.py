"""Follows the history into a bounded window of events with counts, from where it left off.

Must not predict, ask or spend; its memory is bounded by `capacity` however much happens.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from warmer.ports import Bookmark, History
from warmer.types import START, Event, Mark, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one step read. `events` counts only those no earlier step, in this process or before, has counted.

    `newest_at_s` is the time of the last event read, None if there was none; `is_at_end`: nothing more for now. `read`
    are all events of the step with their places, those counted before too: who learns knows how far it has learnt.
    """

    events: int
    newest_at_s: float | None
    is_at_end: bool
    read: tuple[tuple[Position, Event], ...] = ()


class Recorder:
    """The window: the newest `capacity` events. After a restart it is read again, and counted only once."""

    def __init__(self, history: History, bookmark: Bookmark, *, capacity: int = 20_000, page: int = 500) -> None:
        self._history = history
        self._bookmark = bookmark
        self._capacity = capacity
        self._page = page
        self._window: deque[tuple[Position, Event]] = deque()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._mark: Mark | None = None
        self._read_to = START

    @property
    def size(self) -> int:
        """How many events the window holds."""
        return len(self._window)

    def events(self) -> Sequence[Event]:
        """Return the window, oldest first."""
        return tuple(event for _, event in self._window)

    def count(self, tenant: str, key: str) -> int:
        """Return how often the window's events wanted this answer."""
        return self._counts[tenant, key]

    async def step(self) -> Recorded:
        """Read the next page, keep it, and save how far that is.

        Raises HistoryUnavailable: call again, nothing is lost or counted twice. A crash, or a cancel, between reading
        and saving makes one page count again after the restart.
        """
        mark = self._mark
        if mark is None:
            mark = self._mark = await self._bookmark.load() or Mark(window_after=START, counted=START)
            self._read_to = mark.window_after
        entries = await self._history.read(after=self._read_to, limit=self._page)
        new = 0
        newest_at_s = None
        for entry in entries:
            if entry.event is not None:
                self._keep(entry.position, entry.event)
                newest_at_s = entry.event.at_s
                new += entry.position > mark.counted
            self._read_to = entry.position
        recorded = Recorded(
            events=new,
            newest_at_s=newest_at_s,
            is_at_end=len(entries) < self._page,
            read=tuple((entry.position, entry.event) for entry in entries if entry.event is not None),
        )
        if entries and self._read_to > mark.counted:
            self._mark = Mark(window_after=self._window_after(), counted=self._read_to)
            await self._bookmark.save(self._mark)
        return recorded

    def _keep(self, position: Position, event: Event) -> None:
        self._window.append((position, event))
        self._counts[event.tenant, event.key] += 1
        if len(self._window) > self._capacity:
            _, oldest = self._window.popleft()
            pair = (oldest.tenant, oldest.key)
            self._counts[pair] -= 1
            if not self._counts[pair]:
                del self._counts[pair]

    def _window_after(self) -> Position:
        """The place just before the window's first event: reading from it gives the window again."""
        if not self._window:
            return self._read_to
        first = self._window[0][0]
        if first.sequence:
            return Position(ms=first.ms, sequence=first.sequence - 1)
        return Position(ms=first.ms - 1, sequence=2**63)
