from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.stores.memory import ENTRY_OVERHEAD_BYTES, MemoryStore
from tests.clock import FakeClock

ROOM_FOR_THREE = 3 * (1 + 10 + ENTRY_OVERHEAD_BYTES)
TEN = b"0123456789"


async def test_a_value_lives_exactly_as_long_as_its_ttl() -> None:
    clock = FakeClock()
    store = MemoryStore(clock, max_bytes=10_000)
    await store.put("a", TEN, ttl_s=10)
    clock.wind(9.999)
    assert await store.get("a") == TEN
    clock.wind(0.002)
    assert await store.get("a") is None
    assert store.size_bytes == 0


async def test_the_least_recently_used_value_goes_first() -> None:
    store = MemoryStore(FakeClock(), max_bytes=ROOM_FOR_THREE)
    for key in "abc":
        await store.put(key, TEN, ttl_s=60)
    assert await store.get("a") == TEN
    await store.put("d", TEN, ttl_s=60)
    assert [key for key in "abcd" if await store.get(key) is not None] == ["a", "c", "d"]


async def test_a_value_that_cannot_fit_is_not_stored_and_leaves_nothing_old_behind() -> None:
    store = MemoryStore(FakeClock(), max_bytes=ROOM_FOR_THREE)
    await store.put("a", TEN, ttl_s=60)
    await store.put("b", TEN, ttl_s=60)
    await store.put("a", b"x" * ROOM_FOR_THREE, ttl_s=60)
    assert await store.get("a") is None
    assert await store.get("b") == TEN


async def test_hashes_are_never_evicted() -> None:
    store = MemoryStore(FakeClock(), max_bytes=ROOM_FOR_THREE)
    await store.hash_set("keys", "k", b"x" * ROOM_FOR_THREE)
    await store.put("a", TEN, ttl_s=60)
    assert await store.hash_get("keys", "k") == b"x" * ROOM_FOR_THREE
    assert await store.get("a") is None


async def test_a_stream_takes_a_quarter_of_the_memory_at_most() -> None:
    store = MemoryStore(FakeClock(), max_bytes=100_000)
    await store.append("s", [b"x" * 100] * 1000, max_entries=1_000_000)
    kept = await store.read("s", after="0-0", limit=1_000_000)
    assert 0 < store.size_bytes <= 25_000
    assert len(kept) == store.size_bytes // (100 + ENTRY_OVERHEAD_BYTES)


async def test_stream_ids_rise_with_the_time_of_day_and_never_repeat() -> None:
    clock = FakeClock(now=5.0)
    store = MemoryStore(clock, max_bytes=100_000)
    await store.append("s", [b"a", b"b"], max_entries=10)
    clock.wind(1.5)
    await store.append("s", [b"c"], max_entries=10)
    assert [entry_id for entry_id, _ in await store.read("s", after="0-0", limit=9)] == ["5000-0", "5000-1", "6500-0"]


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "delete", "append", "hash_set", "hash_delete", "wind"]),
        st.sampled_from("abcdef"),
        st.integers(0, 600),
    ),
    max_size=60,
)


@given(acts=_ACTS)
async def test_whatever_is_done_the_size_is_what_is_held_and_bounded(acts: list[tuple[str, str, int]]) -> None:
    clock = FakeClock()
    limit = 2_500
    store = MemoryStore(clock, max_bytes=limit)
    hashed: dict[str, int] = {}
    for act, key, number in acts:
        if act == "put":
            await store.put(key, b"x" * number, ttl_s=number / 10)
        elif act == "get":
            await store.get(key)
        elif act == "delete":
            await store.delete([key])
        elif act == "append":
            await store.append("s" + key, [b"x" * number], max_entries=2)
        elif act == "hash_set":
            await store.hash_set("h", key, b"x" * (number // 10))
            hashed[key] = 1 + number // 10 + ENTRY_OVERHEAD_BYTES
        elif act == "hash_delete":
            assert await store.hash_delete("h", key) == (hashed.pop(key, None) is not None)
        else:
            clock.wind(number / 20)
        streams = 6 * limit // 4
        assert sum(hashed.values()) <= store.size_bytes <= max(limit, sum(hashed.values()) + streams)
    await store.delete(list("abcdef"))
    for key in "abcdef":
        await store.hash_delete("h", key)
    held = [entry async for name in store.scan("s") for entry in await store.read(name, after="0-0", limit=99)]
    expired = store.size_bytes - sum(len(data) + ENTRY_OVERHEAD_BYTES for _, data in held)
    assert expired >= 0
    clock.wind(1000)
    for key in "abcdef":
        await store.get(key)
    assert store.size_bytes == sum(len(data) + ENTRY_OVERHEAD_BYTES for _, data in held)
