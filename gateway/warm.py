"""The warmer's own process: follows the ledger through Redis, publishes what it has recorded, and keeps the ledger
in files.

Must not serve requests, and waits while Redis is away.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from gateway.clock import SystemClock
from gateway.history.roller import roll
from gateway.history.segments import DAY_S
from gateway.ledger import STREAM, UnknownEntry, decode
from gateway.logs import configure_logs, report_crash
from gateway.metrics import Metrics, watch_loop_lag
from gateway.outcome import Outcome
from gateway.ports import Clock, StoreUnavailable
from gateway.series import KnownLabels
from gateway.settings import Settings, metrics_dir
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.version import installed_version
from warmer.ports import HistoryUnavailable
from warmer.recorder import Recorded, Recorder
from warmer.types import Entry, Event, Mark, Position

NOTES = "foreword:warmer"
MARK = "mark"
REDIS_TIMEOUT_S = 1.0
"""Nobody waits for the warmer, so it may wait for Redis longer than a request does."""
IDLE_S = 0.5
CLOSE_S = 2.0


class LedgerStore(Protocol):
    """The part of RedisStore that the warmer uses; all raise StoreUnavailable."""

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]: ...

    async def hash_get(self, key: str, field: str) -> bytes | None: ...

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool: ...


class LedgerHistory:
    """warmer.ports.History over the ledger's stream."""

    def __init__(self, store: LedgerStore, *, stream: str = STREAM) -> None:
        self._store = store
        self._stream = stream

    async def read(self, *, after: Position, limit: int) -> Sequence[Entry]:
        """Return ledger entries after `after`; unreadable ones keep their place without an event."""
        try:
            found = await self._store.read(self._stream, after=f"{after.ms}-{after.sequence}", limit=limit)
        except StoreUnavailable as error:
            raise HistoryUnavailable(str(error)) from error
        return [Entry(position=_position(name), event=_event(entry)) for name, entry in found]


class RedisBookmark:
    """warmer.ports.Bookmark as one field of a Redis hash."""

    def __init__(self, store: LedgerStore, *, key: str = NOTES) -> None:
        self._store = store
        self._key = key

    async def load(self) -> Mark | None:
        """Return the saved mark; a damaged one counts as none."""
        try:
            saved = await self._store.hash_get(self._key, MARK)
        except StoreUnavailable as error:
            raise HistoryUnavailable(str(error)) from error
        try:
            return msgspec.json.decode(saved, type=Mark) if saved is not None else None
        except msgspec.DecodeError:
            return None

    async def save(self, mark: Mark) -> None:
        """Write the mark."""
        try:
            await self._store.hash_set(self._key, MARK, msgspec.json.encode(mark))
        except StoreUnavailable as error:
            raise HistoryUnavailable(str(error)) from error


def event_of(outcome: Outcome) -> Event | None:
    """Return what `outcome` says about demand: nothing if the warmer asked, or if no answer could be stored."""
    if outcome.origin in ("warmer", "cache", "refresh") or outcome.result != "ok" or not outcome.cache_key:
        return None
    was_hit = outcome.cache in ("hit", "semantic-hit", "stale")
    return Event(
        at_s=outcome.started_at,
        tenant=outcome.tenant,
        key=outcome.cache_key,
        session=outcome.session,
        route=outcome.route,
        model=outcome.routed_model,
        was_hit=was_hit,
        waited_s=outcome.total_s,
        cost_nanousd=outcome.saved_nanousd if was_hit else outcome.cost_nanousd or 0,
    )


async def follow(
    recorder: Recorder, *, clock: Clock, publish: Callable[[Recorded], None], idle_s: float = IDLE_S
) -> None:
    """Record for ever, and give each step to `publish`; one log line when the history goes away and one when back."""
    log = structlog.get_logger()
    is_away = False
    while True:
        try:
            recorded = await recorder.step()
        except HistoryUnavailable as error:
            if not is_away:
                log.warning("warmer waits for redis", reason=str(error))
            is_away = True
            await clock.sleep(idle_s)
            continue
        if is_away:
            log.info("warmer reads on")
            is_away = False
        publish(recorded)
        if recorded.is_at_end:
            await clock.sleep(idle_s)


def run_warmer(settings: Settings) -> int:
    """Run the warmer until SIGTERM or SIGINT and return the exit code; `settings.redis_url` must be set."""
    configure_logs(settings.log_level)
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    if settings.redis_url is None:
        raise ValueError("redis_url: None: must be the URL of the Redis that holds the ledger")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=report_crash)
    metrics = Metrics(version=installed_version(), known=KnownLabels(), multiprocess_dir=metrics_dir())
    store = RedisStore(settings.redis_url, supervisor=supervisor, timeout_s=REDIS_TIMEOUT_S)
    recorder = Recorder(LedgerHistory(store), RedisBookmark(store))

    def publish(recorded: Recorded) -> None:
        behind = 0.0 if recorded.is_at_end or recorded.newest_at_s is None else clock.now() - recorded.newest_at_s
        metrics.warmer_recorded(recorded.events, lag_s=max(0.0, behind), window_events=recorder.size)

    supervisor.spawn(watch_loop_lag(metrics, clock), name="metrics")
    keep_s = settings.ledger_keep_days * DAY_S
    rolling = roll(store, settings.data_dir, clock=clock, keep_s=keep_s, max_bytes=settings.ledger_max_bytes)
    supervisor.spawn(rolling, name="ledger-files")
    following = supervisor.spawn(follow(recorder, clock=clock, publish=publish), name="warmer")
    stopping = supervisor.spawn(_wait(stop), name="signals")
    await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await store.close()
    await supervisor.close(CLOSE_S)
    return 0 if stop.is_set() else 1


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def _position(name: str) -> Position:
    ms, _, sequence = name.partition("-")
    return Position(ms=int(ms), sequence=int(sequence))


def _event(entry: bytes) -> Event | None:
    try:
        return event_of(decode(entry))
    except UnknownEntry:
        return None
