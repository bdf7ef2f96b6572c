from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.clock import SystemClock
from gateway.ledger import BATCH, Ledger, UnknownEntry, decode, encode, read_ledger
from gateway.outcome import Outcome
from gateway.ports import StoreUnavailable
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from router.types import AttemptRecord, Usage
from tests.clock import FakeClock


class CountingStore(MemoryStore):
    """The shipped memory store; `appends` holds the size of each append, `is_away` makes it unavailable."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, max_bytes=1 << 24)
        self.appends: list[int] = []
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None:
        self.appends.append(len(entries))
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        await super().append(stream, entries, max_entries=max_entries)


def outcome(number: int) -> Outcome:
    attempt = AttemptRecord(
        deployment_id="d", group="g", provider="p", model="m", reason="first", started_s=0.0, ended_s=0.5, result="ok"
    )
    return Outcome(
        request_id=f"r-{number}",
        origin="user",
        endpoint="/v1/chat/completions",
        started_at=1000.0 + number,
        result="ok",
        status=200,
        tenant="t",
        tags=("task=fallacy",),
        usage=Usage(input_tokens=number, output_tokens=2),
        cost_nanousd=None,
        attempts=(attempt,),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> CountingStore:
    return CountingStore(clock)


@pytest.fixture
async def supervisor(clock: FakeClock) -> AsyncIterator[Supervisor]:
    crashes: list[str] = []
    kept = Supervisor(clock=clock, on_crash=lambda name, error: crashes.append(f"{name}: {error!r}"))
    yield kept
    assert await kept.close(1.0) == ()
    assert crashes == []


async def written(store: MemoryStore | RedisStore, *, since_s: float = 0.0) -> list[str]:
    return [entry.request_id async for entry in read_ledger(store, since_s=since_s)]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_entry_gives_back_the_whole_outcome() -> None:
    for example in (
        outcome(3),
        Outcome(request_id="", origin="warmer", endpoint="", started_at=0, result="error", status=0),
    ):
        assert decode(encode(example)) == example


@pytest.mark.parametrize(
    "entry", [b"", b"{}", b'{"v":3,"request_id":"r"}', b'{"v":1,"request_id":', b'{"v":1,"status":"x"}']
)
def test_an_entry_of_another_version_or_a_damaged_one_is_an_error(entry: bytes) -> None:
    with pytest.raises(UnknownEntry, match="ledger entry"):
        decode(entry)


def test_an_entry_of_the_version_before_decisions_is_still_read() -> None:
    old = b'{"v":1' + encode(outcome(3)).removeprefix(b'{"v":2')
    assert decode(old) == outcome(3)
    assert decode(old).decision is None


async def test_nothing_is_written_before_the_interval_and_everything_after_it_in_batches(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor, flush_interval_s=0.5, batch=10)
    ledger.start()
    await settle()
    for number in range(25):
        ledger.record(outcome(number))
    await settle()
    assert store.appends == []
    clock.wind(0.5)
    await settle()
    assert store.appends == [10, 10, 5]
    assert await written(store) == [f"r-{number}" for number in range(25)]
    assert ledger.waiting == 0
    clock.wind(0.5)
    await settle()
    assert store.appends == [10, 10, 5]
    assert await ledger.close() == 0


async def test_what_could_not_be_written_is_kept_in_order_and_retried(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor, flush_interval_s=0.5, batch=4)
    ledger.start()
    await settle()
    store.is_away = True
    for number in range(6):
        ledger.record(outcome(number))
    clock.wind(0.5)
    await settle()
    assert ledger.waiting == 6
    ledger.record(outcome(6))
    store.is_away = False
    clock.wind(1.0)
    await settle()
    assert await written(store) == [f"r-{number}" for number in range(7)]
    assert ledger.dropped == 0
    assert await ledger.close() == 0


async def test_a_long_outage_keeps_the_newest_and_counts_the_rest(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor, batch=4, max_waiting=5)
    store.gate.clear()
    store.is_away = True
    for number in range(5):
        ledger.record(outcome(number))
    async with asyncio.TaskGroup() as group:
        flushing = group.create_task(_fails(ledger))
        await settle()
        for number in range(5, 8):
            ledger.record(outcome(number))
        store.gate.set()
    assert flushing.result()
    assert (ledger.waiting, ledger.dropped) == (5, 3)
    store.is_away = False
    await ledger.flush()
    assert await written(store) == ["r-3", "r-4", "r-5", "r-6", "r-7"]


async def test_what_is_just_being_written_still_waits_and_can_be_looked_up(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor)
    ledger.record(outcome(1))
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(ledger.flush())
        await settle()
        assert (store.appends, ledger.waiting) == ([1], 1)
        assert await ledger.look_up("t", "r-1") == outcome(1)
        store.gate.set()
    assert ledger.waiting == 0
    assert await ledger.look_up("t", "r-1") == outcome(1)


async def _fails(ledger: Ledger) -> bool:
    try:
        await ledger.flush()
    except StoreUnavailable:
        return True
    return False


async def test_a_cancelled_flush_loses_nothing(store: CountingStore, clock: FakeClock, supervisor: Supervisor) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor, batch=4)
    for number in range(6):
        ledger.record(outcome(number))
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        flushing = group.create_task(ledger.flush())
        await settle()
        flushing.cancel()
    store.gate.set()
    await ledger.flush()
    assert await written(store) == [f"r-{number}" for number in range(6)]


async def test_closing_waits_for_the_write_under_way_and_repeats_nothing(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor, batch=4)
    ledger.start()
    await settle()
    for number in range(6):
        ledger.record(outcome(number))
    store.gate.clear()
    clock.wind(0.5)
    await settle()
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(ledger.close())
        await settle()
        store.gate.set()
    assert closing.result() == 0
    assert await written(store) == [f"r-{number}" for number in range(6)]


async def test_closing_is_bounded_and_says_what_was_lost(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor)
    ledger.start()
    store.is_away = True
    ledger.record(outcome(0))
    assert await ledger.close(limit_s=0.03) == 1


async def test_reading_starts_where_asked_and_skips_what_it_does_not_know(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor)
    ledger.record(outcome(0))
    await ledger.flush()
    clock.wind(10)
    since_s = clock.now()
    await store.append("foreword:ledger", [b'{"v":99}'], max_entries=1000)
    for number in range(1, 500):
        ledger.record(outcome(number))
    await ledger.flush()
    assert await written(store, since_s=since_s) == [f"r-{number}" for number in range(1, 500)]
    assert len(await written(store)) == 500


async def test_in_redis_the_stream_is_bounded_and_read_back(redis_url: str) -> None:
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=lambda *crash: pytest.fail(str(crash)))
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=2.0)
    ledger = Ledger(store, clock=clock, supervisor=supervisor, stream="foreword:ledger:test", max_entries=300)
    ledger.start()
    for number in range(1000):
        ledger.record(outcome(number))
    assert await ledger.close() == 0
    read = [entry.usage.input_tokens async for entry in read_ledger(store, stream="foreword:ledger:test")]
    assert read == list(range(1000 - len(read), 1000))
    assert 300 <= len(read) <= 500
    await store.close()
    assert await supervisor.close(1.0) == ()


async def test_a_flush_lets_the_loop_go_on_between_portions(
    store: CountingStore, clock: FakeClock, supervisor: Supervisor
) -> None:
    ledger = Ledger(store, clock=clock, supervisor=supervisor)
    for number in range(200):
        ledger.record(outcome(number))
    store.gate.clear()
    flushing = asyncio.create_task(ledger.flush())  # noqa: TID251 - a caller of its own
    await asyncio.sleep(0)
    assert store.appends == [BATCH]
    store.gate.set()
    await flushing
    assert store.appends == [64, 64, 64, 8]
    assert len(await written(store)) == 200
