"""The ledger: every outcome, appended to a bounded stream in batches, off the request path.

Must not make a request wait or fail, and holds what Outcome holds: no text and no key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from gateway.archive import Archive, Hashes
from gateway.ledger_index import index_of, just_before, slot_of
from gateway.outcome import Outcome
from gateway.ports import Clock, StoreUnavailable
from gateway.supervisor import Supervisor

STREAM = "foreword:ledger"
VERSION = 2
"""2: with `decision`. Entries of version 1, which have none, are read as well."""
READABLE = (b'{"v":2,', b'{"v":1,')
MAX_RETRY_S = 5.0
PAGE = 200
BATCH = 64
"""Outcomes turned into entries at once, and into one command each: 0.7 ms of the event loop together."""
RECENT = 1000
"""Written outcomes that a worker still has at hand, about 2 MB."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Outcome)


class Streams(Protocol):
    """Append-only streams, shared by every worker. Both raise StoreUnavailable."""

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None: ...

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return up to `limit` entries (id, bytes) after the id `after` (`{Unix milliseconds}-{number}`)."""
        ...


class LedgerStore(Streams, Hashes, Protocol):
    """What the ledger writes to: its stream, and hashes beside it. All raise StoreUnavailable."""

    async def hash_get(self, key: str, field: str) -> bytes | None: ...


class UnknownEntry(ValueError):
    """A ledger entry that this version cannot read."""


class Ledger:
    """Collects outcomes and writes them every `flush_interval_s`, up to `batch` in one append.

    The stream keeps about `max_entries`. While the store is away the newest `max_waiting` outcomes stay here and the
    rest is counted in `dropped`. An append whose reply was lost is repeated, so an outcome may be in the stream twice,
    with the same request_id. What entries name by version, its `archive` writes before them.
    """

    def __init__(
        self,
        store: LedgerStore,
        *,
        clock: Clock,
        supervisor: Supervisor,
        stream: str = STREAM,
        max_entries: int = 100_000,
        flush_interval_s: float = 0.5,
        batch: int = BATCH,
        max_waiting: int = 10_000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._stream = stream
        self._recent: deque[Outcome] = deque(maxlen=RECENT)
        self._max_entries = max_entries
        self._flush_interval_s = flush_interval_s
        self._batch = batch
        self._max_waiting = max_waiting
        self.archive = Archive()
        self._waiting: deque[Outcome] = deque()
        self._being_written: Sequence[Outcome] = ()
        self._task: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Return how many outcomes are not known to be in the store yet."""
        return len(self._waiting) + len(self._being_written)

    async def look_up(self, tenant: str, request_id: str) -> Outcome | None:
        """Return the newest outcome of a tenant under that id, None where it is not known (any more).

        This worker's newest are looked at first; others are found once the warmer's process has read them, a second
        or two after they ended. Raises StoreUnavailable.
        """
        for outcome in (*reversed(self._waiting), *reversed(self._being_written), *reversed(self._recent)):
            if (outcome.tenant, outcome.request_id) == (tenant, request_id):
                return outcome
        place = await self._store.hash_get(index_of(self._stream), slot_of(tenant, request_id))
        if place is None:
            return None
        name = place.decode()
        for found, entry in await self._store.read(self._stream, after=just_before(name), limit=1):
            with suppress(UnknownEntry):
                outcome = decode(entry)
                is_it = found == name and (outcome.tenant, outcome.request_id) == (tenant, request_id)
                return outcome if is_it else None
        return None

    def start(self) -> None:
        """Begin to flush, as a task of the supervisor; needs a running loop."""
        if self._task is None:
            self._task = self._supervisor.spawn(self._run(), name="ledger")

    def record(self, outcome: Outcome) -> None:
        """Keep `outcome` for the next flush. Never waits and never fails."""
        self._waiting.append(outcome)
        if len(self._waiting) > self._max_waiting:
            self._waiting.popleft()
            self.dropped += 1

    async def flush(self) -> None:
        """Write all that waits now. Raises StoreUnavailable, and keeps what was not written; so does cancel."""
        async with self._flushing:
            left = len(self._waiting)
            while left > 0 and self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._batch, left, len(self._waiting)))]
                left -= len(taken)
                await self._write(taken)

    async def close(self, limit_s: float = 2.0) -> int:
        """Write what is left within `limit_s` seconds and return how many outcomes were lost.

        Close it before the store and the supervisor.
        """
        try:
            async with asyncio.timeout(limit_s):
                async with self._flushing:  # a write cut in half would be repeated
                    self._stop()
                while self._waiting:
                    if not await self._try():
                        await asyncio.sleep(min(self._flush_interval_s, limit_s / 10))
        except TimeoutError:
            self._stop()
        return self.waiting

    def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _write(self, taken: list[Outcome]) -> None:
        self._being_written = taken
        try:
            await self.archive.flush(self._store)
            await self._store.append(
                self._stream, [encode(outcome) for outcome in taken], max_entries=self._max_entries
            )
        except (StoreUnavailable, asyncio.CancelledError):
            room = self._max_waiting - len(self._waiting)
            kept = taken[len(taken) - room :] if room < len(taken) else taken
            self.dropped += len(taken) - len(kept)
            self._waiting.extendleft(reversed(kept))
            raise
        finally:
            self._being_written = ()
        self._recent.extend(taken)

    async def _run(self) -> None:
        delay_s = self._flush_interval_s
        while True:
            await self._clock.sleep(delay_s)
            delay_s = self._flush_interval_s if await self._try() else min(delay_s * 2, MAX_RETRY_S)

    async def _try(self) -> bool:
        try:
            await self.flush()
        except StoreUnavailable:
            return False
        return True


def encode(outcome: Outcome) -> bytes:
    """Return the stream entry: the outcome as a JSON object with the schema version `v` before its fields."""
    return b'{"v":%d,' % VERSION + _encoder.encode(outcome)[1:]


def decode(entry: bytes) -> Outcome:
    """Return the outcome of a stream entry. Raises UnknownEntry for another version's or a damaged one."""
    if not entry.startswith(READABLE):
        raise UnknownEntry(f"ledger entry: begins with {entry[:12]!r}: must be a JSON object with v = 1 or 2 first")
    try:
        return _decoder.decode(entry)
    except msgspec.DecodeError as error:
        raise UnknownEntry(f"ledger entry: {error}") from error


async def read_ledger(store: Streams, *, since_s: float = 0.0, stream: str = STREAM) -> AsyncIterator[Outcome]:
    """Yield the outcomes that were written at or after `since_s` (Unix seconds), oldest first, to the end of now.

    Entries of another schema version are left out: two versions write side by side during an upgrade. Raises
    StoreUnavailable.
    """
    after = f"{max(0, int(since_s * 1000) - 1)}-{2**63}"
    while page := await store.read(stream, after=after, limit=PAGE):
        after = page[-1][0]
        for _, entry in page:
            try:
                yield decode(entry)
            except UnknownEntry:
                continue
