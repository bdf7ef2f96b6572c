from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.clock import SystemClock
from gateway.keys import RECORDS, Caller, CreatedKey, Keys
from gateway.ports import StoreUnavailable
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.clock import FakeClock

NOBODY = "sk-fw-" + "A" * 43


class CountingStore(MemoryStore):
    """The shipped memory store; `lookups` counts reads of records, and `is_away` makes it unavailable."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, max_bytes=1 << 20)
        self.lookups = 0
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def hash_get(self, key: str, field: str) -> bytes | None:
        self.lookups += 1
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().hash_get(key, field)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> CountingStore:
    return CountingStore(clock)


@pytest.fixture
def keys(store: CountingStore, clock: FakeClock) -> Keys:
    return Keys(store, clock)


async def test_a_created_key_identifies_its_caller(keys: Keys) -> None:
    created = await keys.create("guild-7", name="debate bot", models=["gpt-4o", "pipeline/debate"])
    assert re.fullmatch(r"sk-fw-[A-Za-z0-9_-]{43}", created.secret)
    caller = await keys.identify(created.secret)
    assert caller == Caller(
        tenant="guild-7", key_id=created.record.id, allowed_models=frozenset({"gpt-4o", "pipeline/debate"})
    )
    assert keys.cached(created.secret) == caller


async def test_a_key_without_a_list_may_use_every_model_and_one_with_an_empty_list_none(keys: Keys) -> None:
    everything = await keys.identify((await keys.create("t")).secret)
    nothing = await keys.identify((await keys.create("t", models=[])).secret)
    assert everything is not None
    assert everything.allowed_models is None
    assert nothing is not None
    assert nothing.allowed_models == frozenset()


async def test_the_secret_is_nowhere_but_in_the_answer(keys: Keys, store: CountingStore) -> None:
    created = await keys.create("t")
    stored = await store.hash_all(RECORDS)
    assert created.secret not in f"{created!r} {stored!r} {await keys.list()!r} {await keys.identify(created.secret)!r}"
    random_part = created.secret.removeprefix("sk-fw-")
    assert created.record.id.removeprefix("key-") not in random_part


async def test_keys_are_listed_oldest_first_and_names_may_repeat(keys: Keys, clock: FakeClock) -> None:
    made = []
    for tenant in ("a", "b", "c"):
        made.append((await keys.create(tenant, name="same")).record)
        clock.wind(1)
    await keys.revoke(made[1].id)
    listed = await keys.list()
    assert [record.id for record in listed] == [record.id for record in made]
    assert [record.revoked_at for record in listed] == [None, clock.now(), None]


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x",
        "sk-fw-",
        NOBODY[:-1],
        NOBODY + "A",
        NOBODY + "\n",
        NOBODY[:-1] + "\udcff",
        NOBODY[:-1] + "é",
        "sk-" * 5000,
    ],
)
async def test_what_is_no_key_costs_no_look_up(keys: Keys, store: CountingStore, secret: str) -> None:
    assert keys.cached(secret) is None
    assert await keys.identify(secret) is None
    assert store.lookups == 0


async def test_a_revoked_key_stops_within_a_second_in_every_worker(store: CountingStore, clock: FakeClock) -> None:
    here, there = Keys(store, clock), Keys(store, clock)
    created = await here.create("t")
    assert await here.identify(created.secret) is not None
    assert await there.identify(created.secret) is not None
    revoked = await here.revoke(created.record.id)
    assert revoked is not None
    assert revoked.revoked_at == clock.now()
    assert here.cached(created.secret) is None
    assert await here.identify(created.secret) is None
    clock.wind(0.999)
    assert there.cached(created.secret) is None
    assert await there.identify(created.secret) is None
    assert await here.revoke("key-nobody") is None
    again = await here.revoke(created.record.id)
    assert again == revoked


async def test_a_known_key_is_asked_about_once_a_second_at_most(
    keys: Keys, store: CountingStore, clock: FakeClock
) -> None:
    created = await keys.create("t")
    for _ in range(1000):
        assert await keys.identify(created.secret) is not None
        clock.wind(0.01)
    assert 10 <= store.lookups <= 13


async def test_while_one_caller_asks_again_the_others_go_on(keys: Keys, store: CountingStore, clock: FakeClock) -> None:
    created = await keys.create("t")
    known = await keys.identify(created.secret)
    clock.wind(0.9)
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(keys.identify(created.secret))
        await asyncio.sleep(0)
        assert keys.cached(created.secret) == known
        assert store.lookups == 2
        store.gate.set()
    assert asking.result() == known


async def test_a_caller_that_leaves_while_asking_again_locks_nobody_out(
    keys: Keys, store: CountingStore, clock: FakeClock
) -> None:
    created = await keys.create("t")
    known = await keys.identify(created.secret)
    clock.wind(0.9)
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(keys.identify(created.secret))
        await asyncio.sleep(0)
        leaving.cancel()
    store.gate.set()
    clock.wind(0.1)
    assert keys.cached(created.secret) is None
    assert await keys.identify(created.secret) == known
    assert store.lookups == 3


async def test_with_the_store_away_known_keys_work_a_minute_and_unknown_ones_do_not(
    keys: Keys, store: CountingStore, clock: FakeClock
) -> None:
    created = await keys.create("t")
    known = await keys.identify(created.secret)
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        await keys.identify(NOBODY)
    clock.wind(59.9)
    assert await keys.identify(created.secret) == known
    clock.wind(0.2)
    with pytest.raises(StoreUnavailable):
        await keys.identify(created.secret)
    store.is_away = False
    assert await keys.identify(created.secret) == known


async def test_an_unknown_key_is_looked_up_once_in_a_while(keys: Keys, store: CountingStore, clock: FakeClock) -> None:
    for _ in range(100):
        assert await keys.identify(NOBODY) is None
    assert store.lookups == 1
    clock.wind(5.1)
    assert await keys.identify(NOBODY) is None
    assert store.lookups == 2


async def test_thousands_of_good_keys_and_as_many_guesses_at_once_are_all_told_apart(
    store: CountingStore, clock: FakeClock
) -> None:
    keys = Keys(store, clock, max_lookups=8, max_unknown=10)
    created = [await keys.create(f"tenant {number}") for number in range(3000)]
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        guesses = [group.create_task(keys.identify(f"sk-fw-{number:043d}")) for number in range(3000)]
        good = [group.create_task(keys.identify(key.secret)) for key in created]
        for _ in range(3):
            await asyncio.sleep(0)
        at_once = store.lookups
        store.gate.set()
    assert at_once == 8
    callers = [task.result() for task in good]
    assert [caller.tenant for caller in callers if caller] == [key.record.tenant for key in created]
    assert [task.result() for task in guesses] == [None] * 3000
    assert len(keys._unknown) == 10


async def test_many_requests_with_one_new_key_ask_once_each_turn(store: CountingStore, clock: FakeClock) -> None:
    keys = Keys(store, clock, max_lookups=2)
    created = await keys.create("t")
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(keys.identify(created.secret)) for _ in range(100)]
    assert {caller.tenant for task in asked if (caller := task.result())} == {"t"}
    assert store.lookups <= 2


async def test_callers_that_leave_while_they_wait_give_their_turns_back(keys: Keys, store: CountingStore) -> None:
    created = await keys.create("t")
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(keys.identify(f"sk-fw-{number:043d}")) for number in range(200)]
        for _ in range(3):
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
    assert all(task.cancelled() for task in waiting)
    store.gate.set()
    assert await keys.identify(created.secret) is not None


async def test_verified_keys_are_bounded_too(store: CountingStore, clock: FakeClock) -> None:
    keys = Keys(store, clock, max_known=3)
    created = [await keys.create("t") for _ in range(5)]
    for key in created:
        await keys.identify(key.secret)
    assert [keys.cached(key.secret) is not None for key in created] == [False, False, True, True, True]


class SlowMemory(MemoryStore):
    """Lets others run inside every call, so that starts overlap."""

    async def hash_get(self, key: str, field: str) -> bytes | None:
        await asyncio.sleep(0)
        return await super().hash_get(key, field)

    async def hash_all(self, key: str) -> Mapping[str, bytes]:
        await asyncio.sleep(0)
        return await super().hash_all(key)

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool:
        await asyncio.sleep(0)
        return await super().hash_set(key, field, value, only_new=only_new)


async def test_of_many_first_starts_one_gets_the_key(clock: FakeClock) -> None:
    store = SlowMemory(clock, max_bytes=1 << 20)
    async with asyncio.TaskGroup() as group:
        starts = [group.create_task(Keys(store, clock).ensure_first()) for _ in range(8)]
    (created,) = (start.result() for start in starts if start.result() is not None)
    assert isinstance(created, CreatedKey)
    assert created.record.tenant == "default"
    assert await Keys(store, clock).list() == (created.record,)
    assert await Keys(store, clock).ensure_first() is None


async def test_the_first_key_is_not_made_again_when_it_was_revoked_or_others_were_made_before(
    clock: FakeClock,
) -> None:
    revoked = Keys(MemoryStore(clock, max_bytes=1 << 20), clock)
    created = await revoked.ensure_first()
    assert created is not None
    await revoked.revoke(created.record.id)
    assert await revoked.ensure_first() is None
    earlier = Keys(MemoryStore(clock, max_bytes=1 << 20), clock)
    await earlier.create("t")
    assert await earlier.ensure_first() is None


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with TemporaryDirectory(prefix="fw-") as directory:
        started = EmbeddedRedis.start(Path(directory))
        yield started
        started.stop()


@pytest.fixture
async def redis(server: EmbeddedRedis) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda *crash: pytest.fail(str(crash)))
    store = RedisStore(server.url, supervisor=supervisor, timeout_s=0.5)
    yield store
    await store.close()
    await supervisor.close(1.0)


async def test_in_redis_keys_are_made_listed_revoked_and_outlive_the_server(
    redis: RedisStore, server: EmbeddedRedis, clock: FakeClock
) -> None:
    keys = Keys(redis, clock)
    async with asyncio.TaskGroup() as group:
        starts = [group.create_task(Keys(redis, clock).ensure_first()) for _ in range(5)]
    (first,) = (created for start in starts if (created := start.result()) is not None)
    second = await keys.create("t", models=["m"])
    assert await keys.revoke(second.record.id) is not None
    assert await keys.identify(second.secret) is None
    known = await keys.identify(first.secret)
    await asyncio.to_thread(server.stop)
    async with asyncio.timeout(30):
        while redis.state == "up":
            clock.wind(0.9)
            assert await keys.identify(first.secret) == known
    with pytest.raises(StoreUnavailable):
        await keys.identify(NOBODY)
    again = await asyncio.to_thread(EmbeddedRedis.start, Path(server.url.removeprefix("unix://")).parent.parent)
    try:
        async with asyncio.timeout(30):
            while await _listed(redis, clock) is None:  # noqa: ASYNC110 - the store's own probe brings it back
                await asyncio.sleep(0.005)
        assert await _listed(redis, clock) == {first.record.id, second.record.id}
        assert await Keys(redis, clock).identify(first.secret) == known
    finally:
        await asyncio.to_thread(again.stop)


async def _listed(store: RedisStore, clock: FakeClock) -> set[str] | None:
    """Return the ids of all keys, None while the store is away."""
    try:
        return {record.id for record in await Keys(store, clock).list()}
    except StoreUnavailable:
        return None
