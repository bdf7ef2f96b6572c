from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.archive import POLICIES
from gateway.history.roller import AWAY_S, FOLDER, roll
from gateway.history.segments import SegmentWriter, read_segments, read_texts
from gateway.ports import StoreUnavailable
from gateway.stores.memory import MemoryStore
from gateway.supervisor import Supervisor
from tests.clock import FakeClock

STREAM = "s"


class LeavingStore(MemoryStore):
    """The shipped memory store, which can go away."""

    is_away = False

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().read(stream, after=after, limit=limit)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> LeavingStore:
    return LeavingStore(clock, max_bytes=1 << 24)


@pytest.fixture
async def supervisor(clock: FakeClock) -> AsyncIterator[Supervisor]:
    crashes: list[str] = []
    kept = Supervisor(clock=clock, on_crash=lambda name, error: crashes.append(f"{name}: {error!r}"))
    yield kept
    assert await kept.close(5.0) == ()
    assert crashes == []


async def entries_in(folder: Path, count: int, clock: FakeClock) -> list[bytes]:
    """Return what the files hold, once they hold `count`; the writing runs in threads of its own."""
    async with asyncio.timeout(30):
        while True:
            found = await asyncio.to_thread(lambda: [entry for _, entry in read_segments(folder / FOLDER)])
            if len(found) >= count:
                return found
            clock.wind(AWAY_S)
            await asyncio.sleep(0)


async def turn(clock: FakeClock) -> None:
    """Let the roller look at the stream a few times."""
    for _ in range(50):
        clock.wind(AWAY_S)
        await asyncio.sleep(0)


async def test_the_roller_goes_on_where_it_was_after_the_store_was_away(
    store: LeavingStore, clock: FakeClock, supervisor: Supervisor, tmp_path: Path
) -> None:
    await store.append(STREAM, [b"%d" % number for number in range(1200)], max_entries=10_000)
    running = roll(store, tmp_path, clock=clock, keep_s=1e9, max_bytes=1 << 30, stream=STREAM)
    task = supervisor.spawn(running, name="ledger-files")
    assert len(await entries_in(tmp_path, 1200, clock)) == 1200
    await store.hash_set(POLICIES, "abc", b"a text")
    store.is_away = True
    await turn(clock)
    await store.append(STREAM, [b"late"], max_entries=10_000)
    store.is_away = False
    await turn(clock)
    assert (await entries_in(tmp_path, 1201, clock))[-1] == b"late"
    async with asyncio.timeout(30):
        while await asyncio.to_thread(read_texts, tmp_path / FOLDER, "policies") != {"abc": b"a text"}:
            await turn(clock)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = await asyncio.to_thread(SegmentWriter, tmp_path / FOLDER, keep_s=1e9, max_bytes=1 << 30)
    assert again.last_id != "0-0"
    again.close()


async def test_a_second_roller_waits_for_the_first(
    store: LeavingStore, clock: FakeClock, supervisor: Supervisor, tmp_path: Path
) -> None:
    first = await asyncio.to_thread(SegmentWriter, tmp_path / FOLDER, keep_s=1e9, max_bytes=1 << 30)
    await store.append(STREAM, [b"one"], max_entries=10)
    running = roll(store, tmp_path, clock=clock, keep_s=1e9, max_bytes=1 << 30, stream=STREAM)
    supervisor.spawn(running, name="ledger-files")
    await turn(clock)
    assert await asyncio.to_thread(lambda: list(read_segments(tmp_path / FOLDER))) == []
    first.close()
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(lambda: list(read_segments(tmp_path / FOLDER))):
            clock.wind(AWAY_S)
            await asyncio.sleep(0)
