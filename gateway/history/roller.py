"""Rolls the ledger's stream into segment files and notes where each request is, as a task of the warmer's process.

Waits while Redis is away, and says once when the disk does not take it; can never slow a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from gateway.archive import CATALOGUES, POLICIES
from gateway.history.segments import SegmentsInUse, SegmentWriter
from gateway.ledger import STREAM
from gateway.ledger_index import index_of, places
from gateway.ports import Clock, StoreUnavailable

FOLDER: Final = "ledger"
IDLE_S: Final = 1.0
AWAY_S: Final = 15.0
PAGE: Final = 500
TEXTS_S: Final = 30.0
KINDS: Final[Mapping[str, str]] = {POLICIES: "policies", CATALOGUES: "catalogues"}
"""Which hash of texts is kept in which folder below the segments."""


class RollerStore(Protocol):
    """The part of RedisStore that the roller uses; all raise StoreUnavailable."""

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]: ...

    async def hash_all(self, key: str) -> Mapping[str, bytes]: ...

    async def hash_set_all(self, key: str, fields: Mapping[str, bytes]) -> None: ...


async def roll(
    store: RollerStore, data_dir: Path, *, clock: Clock, keep_s: float, max_bytes: int, stream: str = STREAM
) -> None:
    """Write for ever what the stream gets; file work runs in a thread. Cancelling closes the files."""
    writer = await _opened(data_dir / FOLDER, clock=clock, keep_s=keep_s, max_bytes=max_bytes)
    log, failing, texts_due_s, has_news = structlog.get_logger(), "", 0.0, False
    try:
        while True:
            try:
                count = await step(store, writer, clock=clock, stream=stream)
                has_news = has_news or count > 0
                if has_news and clock.monotonic() >= texts_due_s:
                    await keep_texts(store, writer)
                    texts_due_s, has_news = clock.monotonic() + TEXTS_S, False
            except (StoreUnavailable, OSError) as error:
                kind = type(error).__name__
                if kind != failing and isinstance(error, OSError):
                    log.error("ledger files not written", reason=str(error))
                failing = kind
                await clock.sleep(AWAY_S if isinstance(error, OSError) else IDLE_S)
                continue
            failing = ""
            if count < PAGE:
                await clock.sleep(IDLE_S)
    finally:
        writer.close()


async def step(store: RollerStore, writer: SegmentWriter, *, clock: Clock, stream: str = STREAM) -> int:
    """Write one page and return how many entries it had. Raises StoreUnavailable, OSError."""
    page = await store.read(stream, after=writer.last_id, limit=PAGE)
    if not page:
        return 0
    await asyncio.to_thread(writer.write, page)
    await store.hash_set_all(index_of(stream), places(page))
    await asyncio.to_thread(writer.prune, clock.now())
    return len(page)


async def keep_texts(store: RollerStore, writer: SegmentWriter) -> None:
    """Copy the texts that entries name by version. Raises StoreUnavailable, OSError."""
    for key, kind in KINDS.items():
        await asyncio.to_thread(writer.keep, kind, await store.hash_all(key))


async def _opened(folder: Path, *, clock: Clock, keep_s: float, max_bytes: int) -> SegmentWriter:
    """Open the directory, waiting for whoever else writes there."""
    is_told = False
    while True:
        try:
            return await asyncio.to_thread(SegmentWriter, folder, keep_s=keep_s, max_bytes=max_bytes)
        except (SegmentsInUse, OSError) as error:
            if not is_told:
                structlog.get_logger().warning("ledger files wait", reason=str(error))
            is_told = True
            await clock.sleep(AWAY_S)
