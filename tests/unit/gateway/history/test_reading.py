from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.archive import CATALOGUES, POLICIES, Archive
from gateway.history.reading import read_history, read_versions
from gateway.history.roller import FOLDER, keep_texts, step
from gateway.history.segments import SegmentWriter
from gateway.history.spending import SpendReport
from gateway.ledger import Ledger, encode
from gateway.ledger_index import index_of, places, slot_of
from gateway.outcome import Outcome
from gateway.ports import StoreUnavailable
from gateway.stores.memory import MemoryStore
from gateway.supervisor import Supervisor
from policies.load import load_policy
from router.types import Usage
from tests.clock import FakeClock
from tests.unit.policies.examples import MINIMAL, card, catalogue, price

STREAM = "s"


def outcome(number: int, **changed: object) -> Outcome:
    fields = {"request_id": f"r{number}", "origin": "user", "endpoint": "chat", "result": "ok", "status": 200}
    return Outcome(**{**fields, "started_at": 1_700_000_000.0 + number, "tenant": "t", **changed})  # type: ignore[arg-type]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock, max_bytes=1 << 24)


@pytest.fixture
async def supervisor(clock: FakeClock) -> AsyncIterator[Supervisor]:
    kept = Supervisor(clock=clock, on_crash=lambda name, error: None)
    yield kept
    await kept.close(1.0)


async def append(store: MemoryStore, *entries: Outcome, most: int = 1000) -> None:
    await store.append(STREAM, [encode(entry) for entry in entries], max_entries=most)


async def rolled(store: MemoryStore, folder: Path, clock: FakeClock) -> None:
    """Roll as a process of its own would that ends right after."""
    writer = await asyncio.to_thread(SegmentWriter, folder / FOLDER, keep_s=1e9, max_bytes=1 << 30)
    await keep_texts(store, writer)
    while await step(store, writer, clock=clock, stream=STREAM):
        pass
    writer.close()


async def ids(store: MemoryStore | None, folder: Path, since_s: float = 0.0) -> list[str]:
    return [one.request_id async for one in read_history(store, folder, since_s=since_s, stream=STREAM)]


async def test_files_and_stream_together_are_read_once_and_in_order(
    store: MemoryStore, clock: FakeClock, tmp_path: Path
) -> None:
    await append(store, *map(outcome, range(5)))
    await rolled(store, tmp_path, clock)
    await append(store, *map(outcome, range(5, 8)))
    assert await ids(store, tmp_path) == [f"r{number}" for number in range(8)]
    assert await ids(None, tmp_path) == [f"r{number}" for number in range(5)]
    await rolled(store, tmp_path, clock)
    assert await ids(None, tmp_path) == [f"r{number}" for number in range(8)]


async def test_files_keep_what_the_stream_has_dropped(store: MemoryStore, clock: FakeClock, tmp_path: Path) -> None:
    await append(store, *map(outcome, range(6)))
    await rolled(store, tmp_path, clock)
    await append(store, *map(outcome, range(6, 10)), most=2)
    assert await ids(store, tmp_path) == [*(f"r{number}" for number in range(6)), "r8", "r9"]


async def test_a_repeated_append_is_read_once_but_a_repeated_request_id_twice(
    store: MemoryStore, clock: FakeClock, tmp_path: Path
) -> None:
    await append(store, outcome(1), outcome(2))
    await rolled(store, tmp_path, clock)
    await append(store, outcome(1), outcome(2), outcome(1, started_at=9.0), outcome(1, tenant="other"))
    assert await ids(store, tmp_path) == ["r1", "r2", "r1", "r1"]


async def test_only_what_was_written_since_is_read(store: MemoryStore, clock: FakeClock, tmp_path: Path) -> None:
    await append(store, outcome(1))
    await rolled(store, tmp_path, clock)
    clock.wind(60.0)
    await append(store, outcome(2))
    assert await ids(store, tmp_path, since_s=clock.now() - 30.0) == ["r2"]
    await rolled(store, tmp_path, clock)
    assert await ids(None, tmp_path, since_s=clock.now() - 30.0) == ["r2"]


async def test_what_entries_name_is_written_before_them_and_waits_while_the_store_is_away(
    clock: FakeClock, supervisor: Supervisor
) -> None:
    written: list[str] = []

    class Away(MemoryStore):
        is_away = True

        async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool:
            if self.is_away:
                raise StoreUnavailable("away")
            written.append(key)
            return await super().hash_set(key, field, value, only_new=only_new)

        async def append(self, stream: str, entries: object, *, max_entries: int) -> None:
            written.append(stream)

    store = Away(clock, max_bytes=1 << 20)
    ledger = Ledger(store, clock=clock, supervisor=supervisor, stream=STREAM)
    archive = ledger.archive
    cards = catalogue(card("a", price(1, 2)))
    archive.note(load_policy(MINIMAL, source="x.yaml", groups=None))
    version = archive.version_of(cards)
    assert archive.version_of(dict(cards)) == version
    ledger.record(outcome(1))
    with pytest.raises(StoreUnavailable):
        await ledger.flush()
    assert (written, ledger.waiting) == ([], 1)
    store.is_away = False
    await ledger.flush()
    assert written[:3] == [POLICIES, CATALOGUES, STREAM]
    await archive.flush(store)
    assert written.count(POLICIES) == written.count(CATALOGUES) == 1


async def test_texts_come_from_files_where_redis_has_lost_them(
    store: MemoryStore, clock: FakeClock, tmp_path: Path
) -> None:
    archive, cards = Archive(), catalogue(card("a", price(1, 2)))
    policy = load_policy(MINIMAL, source="x.yaml", groups=None)
    archive.note(policy)
    version = archive.version_of(cards)
    await archive.flush(store)
    await rolled(store, tmp_path, clock)
    texts = await read_versions(MemoryStore(clock, max_bytes=1 << 20), tmp_path)
    assert texts.policies[policy.version].text == MINIMAL
    assert texts.catalogues[version] == cards


async def test_a_request_is_found_by_tenant_and_id_until_its_slot_is_taken(
    store: MemoryStore, clock: FakeClock, supervisor: Supervisor, tmp_path: Path
) -> None:
    ledger, other = (Ledger(store, clock=clock, supervisor=supervisor, stream=STREAM) for _ in range(2))
    ledger.record(outcome(1))
    ledger.record(outcome(2))
    found = await ledger.look_up("t", "r1")
    await ledger.flush()
    assert found == await ledger.look_up("t", "r1") == outcome(1)
    assert await other.look_up("t", "r1") is None
    await append(store, outcome(3))
    await rolled(store, tmp_path, clock)
    assert [await other.look_up("t", f"r{number}") for number in (1, 2, 3)] == [outcome(1), outcome(2), outcome(3)]
    assert await other.look_up("other", "r1") is None
    assert await other.look_up("t", "unknown") is None
    await store.hash_set(
        index_of(STREAM), slot_of("t", "r1"), (await store.read(STREAM, after="0-0", limit=9))[1][0].encode()
    )
    assert await other.look_up("t", "r1") is None
    assert places([("5-0", encode(outcome(1))), ("6-0", b"damaged")]) == {slot_of("t", "r1"): b"5-0"}


def test_spend_is_added_up_by_name_and_a_warmers_spend_is_told_apart() -> None:
    entries = [
        outcome(1, routed_model="a", cache="miss", cost_nanousd=70, usage=Usage(input_tokens=5, output_tokens=3)),
        outcome(2, routed_model="a", cache="hit", saved_nanousd=70, usage=Usage(input_tokens=5, output_tokens=3)),
        outcome(3, routed_model="b", cache="miss", cost_nanousd=None, tenant="u"),
        outcome(4, routed_model="a", cache="miss", cost_nanousd=9, origin="warmer", tenant="u"),
        outcome(5, result="error", tenant="u"),
        outcome(100_000, routed_model="a", cache="joined", saved_nanousd=1),
    ]
    by_tenant, by_day = SpendReport("tenant"), SpendReport("day")
    for entry in entries:
        by_tenant.add(entry)
        by_day.add(entry)
    first, second = by_tenant.lines()
    assert (first.name, first.requests, first.answers, first.reused, first.hit_rate) == ("t", 3, 3, 2, 2 / 3)
    assert (first.cost_nanousd, first.saved_nanousd, first.input_tokens) == (70, 71, 5)
    assert (second.name, second.requests, second.failed, second.unpriced) == ("u", 2, 1, 1)
    assert (second.cost_nanousd, second.warming_nanousd) == (9, 9)
    assert [line.name for line in by_day.lines()] == ["2023-11-14", "2023-11-16"]
    assert by_day.total.cost_nanousd == 79
