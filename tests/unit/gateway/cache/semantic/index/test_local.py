"""The index in a worker's memory: bounded, in step with the others, and never a reason for the event loop to stand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import count

import numpy as np
import pytest
from msgspec.structs import replace

from gateway.cache.semantic.index.feed import Feed, Missed
from gateway.cache.semantic.index.local import ALONE_LIMIT_S, Bounds, LocalIndex
from gateway.cache.semantic.index.matrix import Flat, cluster, nearest, nearest_all
from gateway.cache.semantic.index.quota import Quota
from gateway.cache.semantic.index.records import Records, decode, encode
from gateway.cache.semantic.index.table import IN_LOOP_ROWS, SORT_FROM, Table
from gateway.cache.semantic.index.together import AT_ONCE, Together
from gateway.cache.semantic.types import Entry, Vector
from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor

DIM = 16
_numbers = count()


class Later(SystemClock):
    """The real clock, and as much more as a test says."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def _crashed(name: str, error: BaseException) -> None:
    raise AssertionError(f"task {name} crashed") from error


def _entry(name: str, vector: Vector, *, tenant: str = "t", scope: str = "a1", value: float = 0.0) -> Entry:
    return Entry(
        entry_id=name,
        answer_id=name,
        tenant=tenant,
        scope=scope,
        text=name,
        vector=vector,
        created_at=float(next(_numbers)),
        expires_at=4e9,
        value=value,
    )


def _rows(number: int, *, seed: int = 0) -> Vector:
    rng = np.random.default_rng(seed)
    bunches = rng.normal(size=(max(1, number // 20), DIM))
    rows = bunches[rng.integers(0, len(bunches), number)] + 0.3 * rng.normal(size=(number, DIM))
    made: Vector = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


class Workers:
    """Several workers' indexes on one Redis; names of their own, so tests share the server."""

    def __init__(self, store: RedisStore, supervisor: Supervisor, clock: Later) -> None:
        self.store = store
        self.supervisor = supervisor
        self.clock = clock
        self.tenant = f"local {next(_numbers)}"
        self.stream = f"feed {self.tenant}"

    def feed(self, *, max_notices: int = 20_000) -> Feed:
        return Feed(self.store, worker=str(next(_numbers)), stream=self.stream, max_notices=max_notices)

    def index(self, *, bounds: Bounds | None = None, max_notices: int = 20_000) -> LocalIndex:
        return LocalIndex(
            Records(self.store),
            self.feed(max_notices=max_notices),
            dim=DIM,
            bounds=bounds or Bounds(max_bytes=1 << 26, class_share=1.0),
            supervisor=self.supervisor,
            clock=self.clock,
            rng=random.Random(0),
            class_of=lambda tenant, scope: scope,
        )

    async def names(self, index: LocalIndex, *, scope: str = "a1") -> list[str]:
        found = await index.nearest(self.tenant, scope, _rows(1)[0], k=100)
        return sorted(one.entry.entry_id for one in found)


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[Workers]:
    clock = Later()
    supervisor = Supervisor(clock=clock, on_crash=_crashed)
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    yield Workers(store, supervisor, clock)
    await store.close()
    assert await supervisor.close(1.0) == ()


async def test_memory_is_bounded_and_the_most_valuable_entries_stay(workers: Workers) -> None:
    size = _table_bytes(1)
    index = workers.index(bounds=Bounds(max_bytes=10 * size, class_share=1.0))
    assert await workers.names(index) == []
    for number, vector in enumerate(_rows(30)):
        await index.add(_entry(f"{number:02}", vector, tenant=workers.tenant, value=float(number % 10)))
        assert index.size_bytes <= 10 * size
    kept = await workers.names(index)
    assert kept == ["07", "08", "09", "17", "18", "19", "26", "27", "28", "29"]


async def test_a_class_cannot_push_another_out_beyond_its_share(workers: Workers) -> None:
    size = _table_bytes(1)
    index = workers.index(bounds=Bounds(max_bytes=10 * size, class_share=0.5))
    for scope in ("quiet", "loud"):
        assert await workers.names(index, scope=scope) == []
    for number, vector in enumerate(_rows(3)):
        await index.add(_entry(f"0{number}", vector, tenant=workers.tenant, scope="quiet"))
    for number, vector in enumerate(_rows(40)):
        await index.add(_entry(f"{number + 10}", vector, tenant=workers.tenant, scope="loud", value=9.0))
    assert await workers.names(index, scope="quiet") == ["00", "01", "02"]
    assert len(await workers.names(index, scope="loud")) == 5


async def test_a_worker_that_was_away_catches_up_with_everything_in_order(workers: Workers) -> None:
    one, away, vectors = workers.index(), workers.index(), _rows(600)
    assert await workers.names(away) == []
    for number in range(0, 600, 60):
        await asyncio.gather(
            *(one.add(_entry(str(at), vectors[at], tenant=workers.tenant)) for at in range(number, number + 60))
        )
    await one.remove(workers.tenant, "a1", [str(at) for at in range(10, 600)])
    await away.catch_up()
    assert await workers.names(away) == [str(at) for at in range(10)]


async def test_a_worker_that_missed_notices_reads_its_scopes_anew(workers: Workers) -> None:
    one, away, vectors = workers.index(max_notices=5), workers.index(max_notices=5), _rows(300)
    await one.add(_entry("old", vectors[0], tenant=workers.tenant))
    assert await workers.names(away) == ["old"]
    await one.remove(workers.tenant, "a1", ["old"])
    for at in range(250):  # a stream is cut by whole nodes of about a hundred
        await one.add(_entry("new", vectors[at], tenant=workers.tenant))
    await away.catch_up()
    assert await workers.names(away) == ["new"]


async def test_an_emptied_redis_counts_as_missed_notices(workers: Workers) -> None:
    feed = workers.feed()
    other = workers.feed()
    await workers.store.run(other.telling("add", "t", "s", ["1"]))
    await feed.begin()
    await workers.store.delete([workers.stream])
    assert isinstance(await feed.read(), Missed)
    await workers.store.run(other.telling("drop", "t", "s"))
    assert [notice.change for notice in await feed.read() or ()] == ["drop"]  # type: ignore[union-attr]


async def test_many_own_notices_hide_nobody_else_s(workers: Workers) -> None:
    feed, other = workers.feed(), workers.feed()
    await feed.begin()
    await workers.store.run(*[feed.telling("drop", "t", "mine")] * 700, other.telling("drop", "t", "theirs"))
    read = await feed.read()
    assert not isinstance(read, Missed)
    assert [notice.scope for notice in read] == ["theirs"]
    assert await feed.read() == []


async def test_own_notices_and_strange_ones_are_left_out(workers: Workers) -> None:
    feed, other = workers.feed(), workers.feed()
    await feed.begin()
    strange = ("XADD", workers.stream, "*", "d", b"\xc1 no msgpack")
    await workers.store.run(feed.telling("drop", "t", "mine"), strange, other.telling("drop", "t", "theirs"))
    read = await feed.read()
    assert not isinstance(read, Missed)
    assert [notice.scope for notice in read] == ["theirs"]


async def test_a_worker_that_heard_of_nobody_for_a_minute_answers_nothing(workers: Workers) -> None:
    index = workers.index()
    await index.add(_entry("one", _rows(1)[0], tenant=workers.tenant))
    assert await workers.names(index) == ["one"]
    workers.clock.ahead_s = ALONE_LIMIT_S + 1
    with pytest.raises(StoreUnavailable, match="not heard of other workers"):
        await workers.names(index)
    await index.catch_up()
    assert await workers.names(index) == ["one"]


async def test_without_redis_a_scope_that_was_never_read_is_no_empty_scope(redis_url: str) -> None:
    clock = Later()
    supervisor = Supervisor(clock=clock, on_crash=_crashed)
    away = Workers(RedisStore("unix:///nowhere", supervisor=supervisor, timeout_s=0.5), supervisor, clock)
    with pytest.raises(StoreUnavailable):
        await away.names(away.index())
    await away.store.close()
    await supervisor.close(1.0)


def _table_bytes(text_length: int) -> int:
    table = Table("t", "a1", DIM)
    table.add(_entry("x" * (text_length + 1), _rows(1)[0]))
    return table.size_bytes


def test_what_comes_and_goes_while_rows_are_sorted_is_neither_lost_nor_brought_back() -> None:
    table, rows = Table("t", "a1", DIM), _rows(SORT_FROM + 60)
    for number in range(SORT_FROM + 50):
        table.add(_entry(str(number), rows[number]))
    assert table.wants_sorting(is_filling=False)
    work, take = table.sort(now=1.0)
    table.remove("7")
    table.add(_entry("8", rows[9]))
    made = work()
    table.remove("11")
    table.add(_entry("new", rows[SORT_FROM + 55]))
    take(made)
    assert not table.wants_sorting(is_filling=False)
    assert table.is_large

    def first(row: int) -> list[str]:
        found = table.search([rows[row]], now=1.0, k=3)()[0]
        return [one.entry.entry_id for one in table.neighbours(found, now=1.0) if one.similarity > 0.99999]

    assert first(7) == []
    assert first(11) == []
    assert first(8) == []
    assert sorted(first(9)) == ["8", "9"]
    assert first(SORT_FROM + 55) == ["new"]
    assert first(5000) == ["5000"]
    assert len(table) == SORT_FROM + 50 - 2 + 1


def test_a_search_begun_before_a_removal_does_not_find_what_was_removed() -> None:
    table, rows = Table("t", "a1", DIM), _rows(10)
    for number in range(10):
        table.add(_entry(str(number), rows[number]))
    found = table.search([rows[4]], now=1.0, k=2)()[0]
    table.remove("4")
    assert "4" not in {one.entry.entry_id for one in table.neighbours(found, now=1.0)}


@pytest.mark.parametrize("vectors", [1, 3, 4, 17])
@pytest.mark.parametrize("rows", [1, 5, 40, 1024, 2500])
def test_many_vectors_find_together_what_each_finds_alone(rows: int, vectors: int) -> None:
    made, asked, flat = _rows(rows), _rows(vectors, seed=1), Flat(DIM)
    for slot, row in enumerate(made):
        flat.append(row, slot)
    ends = np.where(np.arange(rows) % 7 == 3, 0.5, 9.0)

    together = nearest_all(flat.parts(), list(asked), ends=ends, now=1.0, k=8)
    for vector, found in zip(asked, together, strict=True):
        alone = nearest(flat.parts(), vector, ends=ends, now=1.0, k=8)
        assert np.allclose(found.similarities, alone.similarities, atol=1e-5)
        assert np.array_equal(found.slots, alone.slots)
        assert np.array_equal(found.vectors, made[found.slots])
        assert all(ends[slot] > 1.0 for slot in found.slots)
        assert len(found.slots) == min(8, int((ends > 1.0).sum()))


@pytest.mark.parametrize("rows", [40, IN_LOOP_ROWS + 40])
async def test_questions_of_one_turn_each_get_their_own_answer_whoever_leaves(rows: int) -> None:
    table, made = Table("t", "a1", DIM), _rows(rows)
    for number in range(rows):
        table.add(_entry(str(number), made[number]))
    together = Together(table, Later())
    asked = [together.nearest(made[number], k=1 + number % 3) for number in range(2 * AT_ONCE + 1)]
    asked[2].cancel()
    for number, future in enumerate(asked):
        if number != 2:
            found = await future
            assert len(found) == 1 + number % 3
            assert found[0].similarity == pytest.approx(1.0, abs=1e-5)
            assert np.allclose(found[0].entry.vector, made[number], atol=1e-3)


@pytest.mark.parametrize("rows", [40, IN_LOOP_ROWS + 40])
async def test_a_search_that_fails_is_heard_of_by_everybody_who_waits(rows: int) -> None:
    table, made = Table("t", "a1", DIM), _rows(rows)
    for number in range(rows):
        table.add(_entry(str(number), made[number]))
    together = Together(table, Later())
    waiting = [together.nearest(np.ones(DIM + 1, np.float32), k=1) for _ in range(2)]
    for future in waiting:
        with pytest.raises(ValueError, match="mismatch"):
            await future


def test_clusters_find_near_neighbours_as_brute_force_does() -> None:
    rows, ends = _rows(20_000), np.full(20_000, 9.0)
    made = cluster([(rows, np.arange(20_000))], ends=ends, now=1.0)
    assert made is not None
    assert sorted(made.slots.tolist()) == list(range(20_000))
    right = 0
    for at in range(0, 20_000, 100):
        asked = rows[at] + rows[at + 1] / 8
        found = nearest(made.parts(asked), asked, ends=ends, now=1.0, k=1)
        right += int(found.slots[0] == int(np.argmax(rows @ asked)))
    assert right >= 198


def test_sorting_leaves_out_what_has_ended() -> None:
    rows = _rows(50)
    ends = np.where(np.arange(50) % 2, 9.0, 0.5)
    made = cluster([(rows, np.arange(50))], ends=ends, now=1.0)
    assert made is not None
    assert sorted(made.slots.tolist()) == list(range(1, 50, 2))
    assert cluster([(rows, np.arange(50))], ends=ends, now=10.0) is None


def test_chunks_give_back_every_row_from_any_start() -> None:
    flat, rows = Flat(DIM), _rows(2500)
    for number, row in enumerate(rows[:1100]):
        flat.append(row, number)
    flat.extend(rows[1100:], np.arange(1100, 2500))
    for start in (0, 1, 1023, 1024, 1025, 2400, 2499, 2500):
        parts = flat.parts(start)
        slots = [slot for _, part in parts for slot in part.tolist()]
        assert slots == list(range(start, 2500))
        if parts:
            assert np.array_equal(np.concatenate([part for part, _ in parts]), rows[start:])


def test_an_entry_survives_its_bytes_and_strange_bytes_are_none() -> None:
    entry = _entry("é", _rows(1)[0], value=1.5)
    read = decode("é", encode(entry))
    assert read is not None
    assert np.array_equal(read.vector, entry.vector)
    assert replace(read, vector=entry.vector) == entry
    assert decode("x", b"") is None
    assert decode("x", b"\x93\x01\x02\x03") is None


def test_the_books_balance_after_any_removal() -> None:
    quota = Quota(max_bytes=1000, class_share=1.0, rng=random.Random(1))
    rng = random.Random(2)
    booked: dict[str, int] = {}
    for _ in range(2000):
        name, kind = str(rng.randrange(40)), "k"
        if rng.random() < 0.5:
            booked[name] = rng.randrange(1, 9)
            quota.add(("t", "s", name), kind=kind, value=rng.random(), created_at=0.0, size_bytes=booked[name])
        else:
            booked.pop(name, None)
            quota.remove(("t", "s", name), kind=kind)
        assert quota.size_bytes == sum(booked.values())
        assert quota.too_many() == ()
