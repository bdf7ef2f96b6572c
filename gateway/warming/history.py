"""warmer.ports.History over the ledger's stream, with the texts of the requests that are kept.

Must not hold a text itself; what an entry says beside demand goes to whoever watches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.ledger import STREAM, UnknownEntry, decode
from gateway.outcome import Outcome
from gateway.ports import StoreUnavailable
from gateway.warming.texts import Pair, Said, Texts
from warmer.ports import HistoryUnavailable
from warmer.types import Entry, Event, Position

_REUSED = frozenset({"hit", "semantic-hit", "stale", "joined"})
Watch = Callable[[Position, Outcome], None]
"""Is told of every entry that can be read, in order; of one that is read again, again."""


class LedgerStore(Protocol):
    """The part of RedisStore that this uses; raises StoreUnavailable."""

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]: ...


class LedgerHistory:
    """See the module."""

    def __init__(self, store: LedgerStore, texts: Texts, *, watch: Watch, stream: str = STREAM) -> None:
        self._store = store
        self._texts = texts
        self._watch = watch
        self._stream = stream

    async def read(self, *, after: Position, limit: int) -> Sequence[Entry]:
        """Return ledger entries after `after`; unreadable ones keep their place without an event."""
        try:
            found = await self._store.read(self._stream, after=f"{after.ms}-{after.sequence}", limit=limit)
            outcomes = [(_position(name), _outcome(entry)) for name, entry in found]
            events = [(position, event_of(outcome) if outcome is not None else None) for position, outcome in outcomes]
            said = await self._texts.of([(event.tenant, event.key) for _, event in events if event is not None])
        except StoreUnavailable as error:
            raise HistoryUnavailable(str(error)) from error
        for position, outcome in outcomes:
            if outcome is not None:
                self._watch(position, outcome)
        return [Entry(position=position, event=_with_text(event, said)) for position, event in events]


def event_of(outcome: Outcome) -> Event | None:
    """Return what `outcome` says about demand: nothing if no caller asked, or if no answer could be stored.

    Of a pipeline it is the run that was wanted, not its steps.
    """
    if outcome.origin != "user" or outcome.result != "ok" or not outcome.cache_key:
        return None
    was_hit, is_run = outcome.cache in _REUSED, outcome.endpoint == "pipeline"
    spent = outcome.interaction_cost_nanousd if is_run else outcome.cost_nanousd or 0
    return Event(
        at_s=outcome.started_at,
        tenant=outcome.tenant,
        key=outcome.cache_key,
        session=outcome.session,
        route=outcome.route,
        model=outcome.requested_model if is_run else outcome.routed_model,
        was_hit=was_hit,
        waited_s=outcome.total_s,
        cost_nanousd=outcome.saved_nanousd if was_hit else spent,
        kind="run" if is_run else "chat",
        ttl_s=outcome.ttl_s,
        age_s=outcome.age_s if was_hit else 0.0,
        warmed_by=outcome.warmed_by if was_hit else "",
    )


def _with_text(event: Event | None, said: Mapping[Pair, Said]) -> Event | None:
    found = None if event is None else said.get((event.tenant, event.key))
    if event is None or found is None:
        return event
    # The outcome of a run that was a hit names no sum saved: its steps' outcomes do.
    cost = found.cost_nanousd if event.kind == "run" and event.was_hit else event.cost_nanousd
    return replace(
        event, question=found.question, attachment=found.attachment, speakers=found.speakers, cost_nanousd=cost
    )


def _position(name: str) -> Position:
    ms, _, sequence = name.partition("-")
    return Position(ms=int(ms), sequence=int(sequence))


def _outcome(entry: bytes) -> Outcome | None:
    try:
        return decode(entry)
    except UnknownEntry:
        return None
