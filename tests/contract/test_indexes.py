"""What every semantic index promises, run over the indexes there are.

`vector_set` needs Redis 8 (vector sets): tests/redis8.py finds or fetches one, or says why there is none.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from gateway.cache.semantic.index.feed import Feed
from gateway.cache.semantic.index.local import Bounds, LocalIndex
from gateway.cache.semantic.index.records import Records, base, entry_key
from gateway.cache.semantic.index.vector_set import VectorSetIndex
from gateway.cache.semantic.types import Entry, Vector
from gateway.clock import SystemClock
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.waiting import Command
from tests.redis8 import NoRedis8, redis8

DIM = 32
Rows = npt.NDArray[np.float32]
AnyIndex = LocalIndex | VectorSetIndex
_numbers = count()


KINDS = ("local", "vector_set")


@pytest.fixture(scope="module")
def redis8_url() -> Iterator[str]:
    """Return the URL of a Redis 8 of this module's own; skips where there is no binary."""
    try:
        binary = redis8()
    except NoRedis8 as lacking:
        pytest.skip(f"the vector_set index is not tested: {lacking}")
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        path = Path(directory) / "redis.sock"
        command = [binary, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", directory]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not path.exists():
            assert process.poll() is None, "redis-server ended"
            process_wait(process)
        yield f"unix://{path}"
        process.terminate()
        process.wait()


def process_wait(process: subprocess.Popen[bytes]) -> None:
    """Wait a moment, or until the process has ended."""
    try:
        process.wait(0.01)
    except subprocess.TimeoutExpired:
        return


class Later(SystemClock):
    """The real clock, and as much more as a test says: entries end at a time of day."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


@dataclass(slots=True, kw_only=True)
class Bench:
    """One store and the workers' indexes on it."""

    kind: str
    store: RedisStore
    supervisor: Supervisor
    clock: Later
    tenant: str = field(default_factory=lambda: f"tenant {next(_numbers)}")

    def index(self, *, max_bytes: int = 1 << 26, max_entries: int = 100_000) -> AnyIndex:
        """Return another worker's index."""
        records = Records(self.store, max_entries=max_entries)
        if self.kind == "vector_set":
            return VectorSetIndex(self.store, records, dim=DIM, clock=self.clock)
        return LocalIndex(
            records,
            Feed(self.store, worker=f"worker {next(_numbers)}", stream=f"feed {self.tenant}"),
            dim=DIM,
            bounds=Bounds(max_bytes=max_bytes, class_share=1.0, fill_wait_s=5.0),
            supervisor=self.supervisor,
            clock=self.clock,
            rng=random.Random(0),
        )

    def entry(self, name: str, vector: Vector, *, scope: str = "a1", ttl_s: float = 60.0, value: float = 0.0) -> Entry:
        now = self.clock.now()
        return Entry(
            entry_id=name,
            answer_id=f"answer {name}",
            tenant=self.tenant,
            scope=scope,
            text=f"text of {name} ✓",
            vector=vector,
            created_at=now,
            expires_at=now + ttl_s,
            value=value,
        )


def _crashed(name: str, error: BaseException) -> None:
    raise AssertionError(f"task {name} crashed") from error


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return a kind of index and the URL of its Redis."""
    kind: str = request.param
    return kind, request.getfixturevalue("redis_url" if kind == "local" else "redis8_url")


@pytest.fixture
async def bench(place: tuple[str, str]) -> AsyncIterator[Bench]:
    kind, url = place
    clock = Later()
    supervisor = Supervisor(clock=clock, on_crash=_crashed)
    store = RedisStore(url, supervisor=supervisor, timeout_s=5.0, clock=clock)
    yield Bench(kind=kind, store=store, supervisor=supervisor, clock=clock)
    await store.close()
    assert await supervisor.close(1.0) == ()


def _unit(rows: Rows | npt.NDArray[np.float64]) -> Rows:
    made: Rows = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return made


def _vectors(number: int, *, seed: int = 0) -> Rows:
    """Return rows that lie in bunches, as questions do."""
    rng = np.random.default_rng(seed)
    bunches = rng.normal(size=(max(1, number // 10), DIM))
    spread = rng.normal(size=(number, DIM))
    return _unit((bunches[rng.integers(0, len(bunches), number)] + 0.25 * spread).astype(np.float32))


async def _add_all(index: AnyIndex, entries: Sequence[Entry]) -> None:
    for at in range(0, len(entries), 100):
        async with asyncio.TaskGroup() as group:
            for entry in entries[at : at + 100]:
                group.create_task(index.add(entry))


async def _eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await check():  # noqa: ASYNC110 - another process's work sends no event
            await asyncio.sleep(0.005)


async def _names(index: AnyIndex, bench: Bench, vector: Vector, *, scope: str = "a1", k: int = 5) -> list[str]:
    return [one.entry.entry_id for one in await index.nearest(bench.tenant, scope, vector, k=k)]


async def _finds_some(index: AnyIndex, bench: Bench, vector: Vector) -> bool:
    return bool(await index.nearest(bench.tenant, "a1", vector, k=1))


async def test_an_entry_comes_back_as_it_was_added(bench: Bench) -> None:
    index, (vector, other) = bench.index(), _vectors(2)
    added = bench.entry("one", vector, value=2.5)
    assert await index.nearest(bench.tenant, "a1", vector, k=3) == [] or True
    await index.add(added)
    (found,) = await index.nearest(bench.tenant, "a1", other, k=3)
    assert np.array_equal(found.entry.vector, vector)
    assert replace(found.entry, vector=added.vector) == added


async def test_similarity_is_the_cosine_nearest_first(bench: Bench) -> None:
    index, axes = bench.index(), np.eye(DIM, dtype=np.float32)
    at = {"same": (1.0, 0.0), "near": (0.8, 0.6), "right angle": (0.0, 1.0), "opposite": (-1.0, 0.0)}
    await _add_all(index, [bench.entry(name, _unit(x * axes[0] + y * axes[1])) for name, (x, y) in at.items()])
    found = await index.nearest(bench.tenant, "a1", axes[0], k=4)
    assert [one.entry.entry_id for one in found] == list(at)
    assert [one.similarity for one in found] == pytest.approx([1.0, 0.8, 0.0, -1.0], abs=1e-6)


async def test_no_more_than_k_come(bench: Bench) -> None:
    index, vectors = bench.index(), _vectors(20)
    await _add_all(index, [bench.entry(str(number), vector) for number, vector in enumerate(vectors)])
    assert len(await _names(index, bench, vectors[0], k=7)) == 7
    assert await _names(index, bench, vectors[3], k=1) == ["3"]


async def test_the_nearest_are_those_of_brute_force(bench: Bench) -> None:
    index, vectors = bench.index(), _vectors(1500)
    await _add_all(index, [bench.entry(str(number), vector) for number, vector in enumerate(vectors)])
    asked = _unit(vectors[::30] + vectors[1::30] / 4)
    await _eventually(lambda: _finds_some(index, bench, asked[0]))
    wanted = [set(np.argsort(-(vectors @ one))[:5].tolist()) for one in asked]
    got = [{int(name) for name in await _names(index, bench, one)} for one in asked]
    shared = sum(len(first & second) for first, second in zip(wanted, got, strict=True))
    assert shared / (5 * len(asked)) >= 0.98


async def test_adding_again_replaces(bench: Bench) -> None:
    index, (first, second) = bench.index(), _vectors(2)
    await index.add(bench.entry("one", first))
    await index.add(replace(bench.entry("one", second), text="new"))
    (found,) = await index.nearest(bench.tenant, "a1", second, k=5)
    assert found.entry.text == "new"
    assert found.similarity == pytest.approx(1.0, abs=1e-6)


async def test_entries_of_several_scopes_are_added_in_one_round_trip(bench: Bench) -> None:
    index, vectors = bench.index(), _vectors(6)
    assert await _names(index, bench, vectors[0]) == []  # a scope in memory, and one that is not
    entries = [bench.entry(str(at), vector, scope=f"a{1 + at % 2}") for at, vector in enumerate(vectors)]
    await index.add(*entries, bench.entry("dead on arrival", vectors[0], ttl_s=-1))
    for reader in (index, bench.index()):
        assert sorted(await _names(reader, bench, vectors[0], k=9)) == ["0", "2", "4"]
        assert sorted(await _names(reader, bench, vectors[0], scope="a2", k=9)) == ["1", "3", "5"]


async def test_what_is_removed_is_never_found_again(bench: Bench) -> None:
    index, vectors = bench.index(), _vectors(6)
    await _add_all(index, [bench.entry(str(number), vector) for number, vector in enumerate(vectors)])
    assert "2" in await _names(index, bench, vectors[2])
    await index.remove(bench.tenant, "a1", ["2", "4", "never there"])
    assert sorted(await _names(index, bench, vectors[2], k=9)) == ["0", "1", "3", "5"]
    assert sorted(await _names(bench.index(), bench, vectors[2], k=9)) == ["0", "1", "3", "5"]


async def test_what_has_ended_is_never_found_and_crowds_nobody_out(bench: Bench) -> None:
    index, vectors = bench.index(), _vectors(30)
    await _add_all(index, [bench.entry(f"short {number}", vectors[0], ttl_s=5) for number in range(20)])
    await index.add(bench.entry("long", vectors[1], ttl_s=100))
    assert len(await _names(index, bench, vectors[0], k=21)) == 21
    bench.clock.ahead_s = 6
    assert await _names(index, bench, vectors[0], k=3) == ["long"]
    await index.add(bench.entry("dead on arrival", vectors[0], ttl_s=-1))
    assert await _names(index, bench, vectors[0], k=3) == ["long"]


async def test_no_scope_and_no_tenant_sees_another_s(bench: Bench) -> None:
    index, (vector,) = bench.index(), _vectors(1)
    stranger = replace(bench.entry("theirs", vector), tenant=f"{bench.tenant}:a1")
    await _add_all(index, [bench.entry("one", vector), bench.entry("two", vector, scope="a2"), stranger])
    assert await _names(index, bench, vector) == ["one"]
    assert await _names(index, bench, vector, scope="a2") == ["two"]
    assert await _names(index, bench, vector, scope="a") == []
    found = await index.nearest(stranger.tenant, "a1", vector, k=5)
    assert [one.entry.entry_id for one in found] == ["theirs"]


async def test_a_dropped_scope_is_gone_and_its_neighbour_is_not(bench: Bench) -> None:
    index, vectors = bench.index(), _vectors(150)
    await _add_all(index, [bench.entry(str(number), vector) for number, vector in enumerate(vectors)])
    await index.add(bench.entry("stays", vectors[0], scope="a2"))
    await index.drop(bench.tenant, "a1")
    assert await _names(index, bench, vectors[0]) == []
    assert await _names(bench.index(), bench, vectors[0]) == []
    assert await _names(index, bench, vectors[0], scope="a2") == ["stays"]
    left = [name async for name in bench.store.scan(base(bench.tenant, "a1"))]
    assert left == []


async def test_a_scope_keeps_its_most_and_those_that_end_first_go(bench: Bench) -> None:
    index, vectors = bench.index(max_entries=3), _vectors(5)
    for number, vector in enumerate(vectors):
        await index.add(bench.entry(str(number), vector, ttl_s=100 - number))
    assert sorted(await _names(index, bench, vectors[0], k=9)) == ["0", "1", "2"]
    assert sorted(await _names(bench.index(), bench, vectors[0], k=9)) == ["0", "1", "2"]


async def test_an_entry_whose_record_is_gone_is_not_found_by_a_new_worker(bench: Bench) -> None:
    first, vectors = bench.index(), _vectors(3)
    await _add_all(first, [bench.entry(str(number), vector) for number, vector in enumerate(vectors)])
    await bench.store.delete([entry_key(bench.tenant, "a1", "1")])
    assert sorted(await _names(bench.index(), bench, vectors[1], k=9)) == ["0", "2"]


async def test_everything_in_redis_ends_by_itself(bench: Bench) -> None:
    index, (vector,) = bench.index(), _vectors(1)
    await index.add(bench.entry("one", vector, ttl_s=500))
    await index.add(bench.entry("two", vector, ttl_s=50))
    keys = [name async for name in bench.store.scan(base(bench.tenant, "a1"))]
    commands: list[Command] = [("PTTL", key) for key in keys]
    left = dict(zip(keys, await bench.store.run(*commands), strict=True))
    assert len(left) >= 3
    for key, ttl_ms in left.items():
        assert isinstance(ttl_ms, int)
        assert (0 if key.endswith("two") else 400_000) < ttl_ms <= 500_000, key


async def test_other_workers_see_what_one_adds_removes_and_drops(bench: Bench) -> None:
    one, other, (vector, second) = bench.index(), bench.index(), _vectors(2)
    for index in (one, other):
        if isinstance(index, LocalIndex):
            index.start()
        assert await _names(index, bench, vector) == []

    async def sees(expected: list[str]) -> bool:
        return sorted(await _names(other, bench, vector)) == expected

    await one.add(bench.entry("first", vector))
    await one.add(bench.entry("second", second))
    await _eventually(lambda: sees(["first", "second"]))
    await one.remove(bench.tenant, "a1", ["first"])
    await _eventually(lambda: sees(["second"]))
    await one.drop(bench.tenant, "a1")
    await _eventually(lambda: sees([]))
