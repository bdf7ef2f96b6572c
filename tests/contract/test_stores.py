"""What every store promises, run over the table of stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from gateway.clock import SystemClock
from gateway.stores import STORES
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor

AnyStore = MemoryStore | RedisStore
_numbers = count()


def _crashed(name: str, error: BaseException) -> None:
    raise AssertionError(f"task {name} crashed") from error


@pytest.fixture(params=(*sorted(STORES), "cluster"))
async def store(request: pytest.FixtureRequest, redis_url: str, cluster_url: str) -> AsyncIterator[AnyStore]:
    name: str = request.param
    url = cluster_url if name == "cluster" else redis_url
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=_crashed)
    opened = STORES["redis" if name == "cluster" else name].from_settings(
        url,
        clock=clock,
        supervisor=supervisor,
        max_bytes=1 << 22,
        timeout_s=2.0,
    )
    yield opened
    await opened.close()
    assert await supervisor.close(1.0) == ()


@pytest.fixture
def key() -> str:
    return f"foreword:test:{next(_numbers)}:{{tag}}"


async def _gone(store: AnyStore, key: str) -> None:
    """Return once `key` has expired."""
    async with asyncio.timeout(30):
        while await store.get(key) is not None:  # noqa: ASYNC110 - the clock of another process sends no event
            await asyncio.sleep(0.002)


async def test_what_was_put_is_what_is_got(store: AnyStore, key: str) -> None:
    value = bytes(range(256)) * 300 + b"\r\n$-1\r\n"
    await store.put(key, value, ttl_s=60)
    assert await store.get(key) == value
    assert await store.get(key + "other") is None


async def test_an_empty_value_is_a_value(store: AnyStore, key: str) -> None:
    await store.put(key, b"", ttl_s=60)
    assert await store.get(key) == b""


async def test_putting_replaces_value_and_age(store: AnyStore, key: str) -> None:
    await store.put(key, b"old", ttl_s=0.02)
    await store.put(key, b"new", ttl_s=60)
    await store.put(key + "witness", b"x", ttl_s=0.04)
    await _gone(store, key + "witness")
    assert await store.get(key) == b"new"


async def test_a_value_expires(store: AnyStore, key: str) -> None:
    await store.put(key, b"short", ttl_s=0.05)
    assert await store.get(key) == b"short"
    await _gone(store, key)
    assert await store.delete([key]) == 0


async def test_reading_does_not_renew(store: AnyStore, key: str) -> None:
    await store.put(key, b"short", ttl_s=0.05)
    await _gone(store, key)  # reads all the while: would never end if a read renewed


@pytest.mark.parametrize("ttl_s", [0, -1, -0.0001])
async def test_no_time_to_live_only_deletes(store: AnyStore, key: str, ttl_s: float) -> None:
    await store.put(key, b"old", ttl_s=60)
    await store.put(key, b"new", ttl_s=ttl_s)
    assert await store.get(key) is None


async def test_a_tiny_time_to_live_is_no_error(store: AnyStore, key: str) -> None:
    await store.put(key, b"x", ttl_s=0.0001)
    await _gone(store, key)


async def test_delete_counts_what_existed(store: AnyStore, key: str) -> None:
    await store.put(key + "a", b"1", ttl_s=60)
    await store.put(key + "b", b"2", ttl_s=60)
    assert await store.delete([key + "a", key + "b", key + "a", key + "never"]) == 2
    assert await store.get(key + "a") is None
    assert await store.delete([]) == 0


async def test_a_stream_gives_back_its_entries_in_order_and_in_pages(store: AnyStore, key: str) -> None:
    await store.append(key, [b"%d" % number for number in range(5)], max_entries=100)
    await store.append(key, [b"5", b"\x00\xff"], max_entries=100)
    await store.append(key, [], max_entries=100)
    first = await store.read(key, after="0-0", limit=4)
    rest = await store.read(key, after=first[-1][0], limit=100)
    assert [data for _, data in [*first, *rest]] == [b"0", b"1", b"2", b"3", b"4", b"5", b"\x00\xff"]
    assert await store.read(key, after=rest[-1][0], limit=100) == []
    assert await store.read(key + "never", after="0-0", limit=100) == []


async def test_several_fields_of_a_hash_are_set_at_once(store: AnyStore, key: str) -> None:
    await store.hash_set_all(key, {})
    await store.hash_set(key, "a", b"old")
    await store.hash_set_all(key, {"a": b"1", "b": b"\x00"})
    assert await store.hash_all(key) == {"a": b"1", "b": b"\x00"}


async def test_a_stream_keeps_about_its_newest_entries(store: AnyStore, key: str) -> None:
    for start in range(0, 1000, 100):
        await store.append(key, [b"%d" % number for number in range(start, start + 100)], max_entries=200)
    kept = [int(data) for _, data in await store.read(key, after="0-0", limit=10_000)]
    assert kept == list(range(1000 - len(kept), 1000))
    assert 200 <= len(kept) <= 400


async def test_a_hash_keeps_its_fields(store: AnyStore, key: str) -> None:
    assert await store.hash_get(key, "a") is None
    assert await store.hash_set(key, "a", b"1")
    assert await store.hash_set(key, "a", b"2")
    assert await store.hash_set(key, "b", b"\xff")
    assert await store.hash_get(key, "a") == b"2"
    assert await store.hash_all(key) == {"a": b"2", "b": b"\xff"}
    assert await store.hash_delete(key, "a")
    assert not await store.hash_delete(key, "a")
    assert await store.hash_all(key) == {"b": b"\xff"}
    assert await store.hash_all(key + "never") == {}


async def test_only_one_of_many_sets_a_new_field(store: AnyStore, key: str) -> None:
    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(store.hash_set(key, "f", b"%d" % n, only_new=True)) for n in range(20)]
    winners = [n for n, done in enumerate(tries) if done.result()]
    assert len(winners) == 1
    assert await store.hash_get(key, "f") == b"%d" % winners[0]


async def test_a_large_hash_is_read_whole(store: AnyStore, key: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(1200):
            group.create_task(store.hash_set(key, str(number), b"v%d" % number))
    assert await store.hash_all(key) == {str(number): b"v%d" % number for number in range(1200)}


async def test_a_scan_finds_keys_by_prefix_taken_literally(store: AnyStore, key: str) -> None:
    prefix = key + "[*?]\\"
    await store.put(prefix + "value", b"", ttl_s=60)
    await store.put(key + "*else", b"", ttl_s=60)
    await store.hash_set(prefix + "hash", "f", b"")
    await store.append(prefix + "stream", [b""], max_entries=1)
    found = {name async for name in store.scan(prefix)}
    assert found == {prefix + "value", prefix + "hash", prefix + "stream"}


async def test_many_callers_each_get_their_own(store: AnyStore, key: str) -> None:
    async def write_and_read(number: int) -> bool:
        await store.put(f"{key}{number}", b"%d" % number * (number % 50), ttl_s=60)
        return await store.get(f"{key}{number}") == b"%d" % number * (number % 50)

    async with asyncio.TaskGroup() as group:
        checks = [group.create_task(write_and_read(number)) for number in range(400)]
    assert all(check.result() for check in checks)


async def test_closing_twice_is_fine(store: AnyStore, key: str) -> None:
    await store.put(key, b"x", ttl_s=60)
    await store.close()
    await store.close()


async def test_a_claim_is_one_callers_until_it_is_given_up_by_its_owner(store: AnyStore, key: str) -> None:
    won = await asyncio.gather(*(store.claim(key, b"%d" % number, ttl_s=60) for number in range(5)))
    assert won == [True, False, False, False, False]
    assert not await store.release(key, b"1")
    assert await store.get(key) == b"0"
    assert await store.release(key, b"0")
    assert not await store.release(key, b"0")
    assert await store.claim(key, b"1", ttl_s=60)


async def test_a_claim_of_a_crashed_owner_expires(store: AnyStore, key: str) -> None:
    assert await store.claim(key, b"dead", ttl_s=0.02)
    await _gone(store, key)
    assert await store.claim(key, b"next", ttl_s=60)


async def test_a_value_that_is_not_there_is_claimed_by_who_looks_for_it_first(store: AnyStore, key: str) -> None:
    found = await asyncio.gather(*(store.get_or_claim(key, b"%d" % number, ttl_s=60) for number in range(3)))
    assert found == [None, b"0", b"0"]
    store.release_soon(key, b"1")
    assert await store.get_or_claim(key, b"3", ttl_s=60) == b"0"
    store.release_soon(key, b"0")
    assert await store.get_or_claim(key, b"4", ttl_s=60) is None


async def test_a_value_takes_the_place_of_whose_claim_there_is_and_its_time(store: AnyStore, key: str) -> None:
    assert await store.get_or_claim(key, b"mine", ttl_s=0.02) is None
    store.put_soon(key, b"answer", ttl_s=60, token=b"another's")
    await store.put(key + "short", b"x", ttl_s=0.03)
    await _gone(store, key + "short")
    assert await store.get_or_claim(key, b"later", ttl_s=60) == b"answer"
    store.release_soon(key, b"mine")
    assert await store.get(key) == b"answer"


async def test_a_claim_for_a_value_that_never_comes_expires(store: AnyStore, key: str) -> None:
    assert await store.get_or_claim(key, b"dead", ttl_s=0.02) is None
    await _gone(store, key)
    assert await store.get_or_claim(key, b"next", ttl_s=60) is None


async def test_what_is_stored_soon_may_also_delete(store: AnyStore, key: str) -> None:
    store.put_soon(key, b"x", ttl_s=60)
    store.put_soon(key, b"x", ttl_s=0)
    assert await store.get(key) is None
