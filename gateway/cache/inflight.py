"""Provider calls in flight: each runs once, in a task of its own, and any number of callers find and follow it.

The call belongs to this table, not to who asked first. Never decides what may be shared.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.cache.flight import Flight
from gateway.ports import Spawner
from router.time_limits import TimeLimits
from router.types import AnswerEvent


class InFlight:
    """The table. One per worker; the key is the exact cache's. A stream may be quiet for `heartbeat_s`; 0: always."""

    def __init__(self, spawner: Spawner, *, history_bytes: int, heartbeat_s: float = 0.0) -> None:
        self.heartbeat_s = heartbeat_s or None
        self._spawner = spawner
        self._history_bytes = history_bytes
        self._limits = TimeLimits()
        self._by_key: dict[str, Flight] = {}
        self._running: set[Flight] = set()

    @property
    def count(self) -> int:
        """Provider calls running now."""
        return len(self._running)

    @property
    def callers(self) -> int:
        """Callers who wait for or read those calls."""
        return sum(flight.callers for flight in self._running)

    @property
    def flights(self) -> frozenset[Flight]:
        """The calls running now."""
        return frozenset(self._running)

    @property
    def open_keys(self) -> int:
        """Keys under which a call can still be found; 0 once nothing runs."""
        return len(self._by_key)

    def find(self, key: str) -> Flight | None:
        """Return the running call for `key` that a caller may still join."""
        flight = self._by_key.get(key)
        return flight if flight is not None and flight.is_joinable and not flight.is_done else None

    def start(
        self,
        key: str | None,
        source: AsyncGenerator[AnswerEvent, None],
        *,
        deadline_s: float,
        groups: frozenset[str] = frozenset(),
    ) -> Flight:
        """Start a call; a None key is never joined. The caller must `follow` before its next await."""
        flight = Flight(key, limits=self._limits, history_bytes=self._history_bytes, groups=groups)
        if key is not None:
            self._by_key[key] = flight
        self._running.add(flight)
        flight.when_done(lambda: self._forget(flight))
        call = flight.run(source, deadline_s=deadline_s)
        flight.attach_job(self._spawner.run_errand(call, name="provider-call", ended=flight.end))
        return flight

    def _forget(self, flight: Flight) -> None:
        self._running.discard(flight)
        if flight.key is not None and self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
