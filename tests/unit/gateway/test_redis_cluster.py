from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from gateway.clock import SystemClock
from gateway.lane import Refused, Transition
from gateway.ports import StoreUnavailable
from gateway.redis_slots import SLOTS, seeds_of, slot_map, slot_of, slot_of_command
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.redis_cluster import ClusterNode, RedisCluster

_names = count()


@asynccontextmanager
async def store_at(
    url: str, *, timeout_s: float = 1.0, probe_interval_s: float = 0.01, heard: list[Transition] | None = None
) -> AsyncIterator[RedisStore]:
    crashes: list[str] = []
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: crashes.append(f"{name}: {error!r}"))
    hear = heard.append if heard is not None else None
    store = RedisStore(
        url, supervisor=supervisor, timeout_s=timeout_s, probe_interval_s=probe_interval_s, on_transition=hear
    )
    yield store
    await store.close()
    assert await supervisor.close(1.0) == ()
    assert crashes == []


def keys_on(cluster: RedisCluster, node: ClusterNode, many: int) -> list[str]:
    """Return keys that a server has by how the slots were dealt."""
    found: list[str] = []
    while len(found) < many:
        key = f"foreword:cluster-test:{next(_names)}"
        if cluster.owner(slot_of(key)) is node:
            found.append(key)
    return found


@pytest.mark.parametrize(
    ("key", "slot"),
    [  # as CLUSTER KEYSLOT says
        ("123456789", 0x31C3),
        ("foo", 12182),
        ("{user1000}.following", slot_of("user1000")),
        ("foo{}{bar}", 8363),
        ("foo{{bar}}zap", slot_of("{bar")),
        ("foo{bar}{zap}", 5061),
        ("", 0),
    ],
)
def test_slots_are_those_of_the_specification(key: str, slot: int) -> None:
    assert slot_of(key) == slot_of(key.encode()) == slot


async def test_slots_are_those_of_the_server(redis_cluster: RedisCluster) -> None:
    for key in ("{b:debate-bot}:x", "foreword:{b:ü}:leases", "a{b", "a}b{c}", "{}x"):
        assert await asyncio.to_thread(redis_cluster.nodes[0].ask, "CLUSTER", "KEYSLOT", key) == slot_of(key)


def test_a_script_is_sent_where_its_first_key_is_and_a_scan_anywhere() -> None:
    assert slot_of_command(("EVAL", "return 1", 2, "{a}x", "{a}y", "arg")) == slot_of("a")
    assert slot_of_command(("EVALSHA", "0" * 40, 1, "{a}x")) == slot_of("a")
    assert slot_of_command(("EVAL", "return 1", 0, "arg")) is None
    assert slot_of_command(("SCAN", "0")) is None
    assert slot_of_command(("GET", b"{a}")) == slot_of("a")


def test_a_url_names_servers_and_a_login() -> None:
    seeds, template = seeds_of("clusters://me:s3{cret@one,two:7000,[::1]:7001/0?ssl_ca_certs=x")
    assert seeds == (("one", 6379), ("two", 7000), ("::1", 7001))
    assert template.format("one:6379") == "rediss://me:s3{cret@one:6379?ssl_ca_certs=x"


@pytest.mark.parametrize("url", ["cluster://", "cluster://host/3", "cluster://a,,b", "cluster://a?tiemout=1"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis URL"):
        RedisStore(url, supervisor=Supervisor(clock=SystemClock(), on_crash=lambda name, error: None))


def test_a_server_that_does_not_know_its_address_is_the_one_that_was_asked() -> None:
    owners = slot_map([[0, 1, [b"", 7000, b"id"]], [3, SLOTS - 1, [b"h", 1, b"id"], [b"r", 2]]], asked=("me", 9))
    assert owners[:4] == [("me", 7000), ("me", 7000), None, ("h", 1)]
    assert owners[-1] == ("h", 1)


async def test_one_call_reaches_every_server_and_its_replies_come_in_order(redis_cluster: RedisCluster) -> None:
    async with store_at(redis_cluster.url) as store:
        keys = [key for node in redis_cluster.nodes for key in keys_on(redis_cluster, node, 3)]
        await store.run(*(("SET", key, key) for key in reversed(keys)))
        assert await store.run(*(("GET", key) for key in keys)) == [key.encode() for key in keys]
        assert {name async for name in store.scan("foreword:cluster-test:")} >= set(keys)
        assert await store.delete(keys) == len(keys)


async def test_keys_of_two_slots_in_one_command_are_refused(redis_cluster: RedisCluster) -> None:
    async with store_at(redis_cluster.url) as store:
        with pytest.raises(StoreUnavailable, match="CROSSSLOT"):
            await store.run(("MGET", "a", "b"))


async def test_a_plain_url_of_a_clusters_server_says_what_to_write(redis_cluster: RedisCluster) -> None:
    async with store_at(f"redis://127.0.0.1:{redis_cluster.nodes[0].port}") as store:
        with pytest.raises(StoreUnavailable, match="cluster://"):
            await store.get(keys_on(redis_cluster, redis_cluster.nodes[1], 1)[0])


async def test_a_seed_that_is_away_is_passed_over(redis_cluster: RedisCluster) -> None:
    url = redis_cluster.url.replace("cluster://", "cluster://127.0.0.1:1,")
    async with store_at(url, timeout_s=5.0) as store:
        await store.put("foreword:cluster-test", b"x", ttl_s=60)
        assert store.state == "up"


async def test_without_any_server_calls_fail_at_once_and_nothing_is_kept_waiting() -> None:
    async with store_at("cluster://127.0.0.1:1") as store:
        store.put_soon("a", b"x", ttl_s=60)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.get("a")
        assert store.state == "down"


async def move_slot(source: ClusterNode, target: ClusterNode, slot: int, *others: ClusterNode) -> None:
    """Give an empty slot to another server."""
    for node in (target, source, *others):
        await asyncio.to_thread(node.done, "CLUSTER", "SETSLOT", slot, "NODE", target.node_id)


async def test_a_slot_that_moved_is_followed_for_calls_and_for_what_is_posted(redis_cluster: RedisCluster) -> None:
    one, two, three = redis_cluster.nodes
    (key,) = keys_on(redis_cluster, one, 1)
    async with store_at(redis_cluster.url, probe_interval_s=60.0) as store:  # the map is not read again by itself
        assert await store.get(key) is None
        await move_slot(one, two, slot_of(key), three)
        try:
            store.put_soon(key, b"posted", ttl_s=60)
            async with asyncio.timeout(30):
                while await store.get(key) != b"posted":  # noqa: ASYNC110 - nobody is told of what is posted
                    await asyncio.sleep(0.001)
            assert await asyncio.to_thread(two.ask, "GET", key) == b"posted"
            assert await store.delete([key]) == 1
        finally:
            await move_slot(two, one, slot_of(key), three)
        await store.put(key, b"back", ttl_s=60)
        assert await asyncio.to_thread(one.ask, "GET", key) == b"back"


async def test_a_key_that_is_being_moved_is_asked_for_at_its_new_place(redis_cluster: RedisCluster) -> None:
    one, two, _ = redis_cluster.nodes
    (key,) = keys_on(redis_cluster, one, 1)
    slot = slot_of(key)
    async with store_at(redis_cluster.url) as store:
        assert await store.get(key) is None
        await asyncio.to_thread(two.done, "CLUSTER", "SETSLOT", slot, "IMPORTING", one.node_id)
        await asyncio.to_thread(one.done, "CLUSTER", "SETSLOT", slot, "MIGRATING", two.node_id)
        try:
            await store.put(key, b"called", ttl_s=60)
            store.put_soon(key, b"posted", ttl_s=60)
            assert await store.get(key) == b"posted"
            refused = await asyncio.to_thread(two.ask, "GET", key)
            assert isinstance(refused, Refused)
            assert refused.code == "MOVED"
            assert await store.delete([key]) == 1
        finally:
            for node in (one, two):
                await asyncio.to_thread(node.done, "CLUSTER", "SETSLOT", slot, "STABLE")


async def test_a_dead_server_fails_its_own_keys_only_and_is_found_again_by_itself(redis_cluster: RedisCluster) -> None:
    one, two, _ = redis_cluster.nodes
    (lost,), (kept,) = keys_on(redis_cluster, one, 1), keys_on(redis_cluster, two, 1)
    heard: list[Transition] = []
    async with store_at(redis_cluster.url, heard=heard) as store:
        await store.put(lost, b"1", ttl_s=60)
        await store.put(kept, b"2", ttl_s=60)
        heard.clear()
        await asyncio.to_thread(one.kill)
        try:
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await store.get(lost)
                assert await store.get(kept) == b"2"
            assert {store.state} == {"down"}  # a set, or mypy takes it for good
        finally:
            await asyncio.to_thread(one.start)
            await asyncio.to_thread(redis_cluster.wait_until_whole)
        async with asyncio.timeout(30):
            while store.state == "down":  # noqa: ASYNC110 - the probe is what is under test
                await asyncio.sleep(0.002)
        assert await store.get(lost) == b"1"
    assert [transition.state for transition in heard] == ["down", "up"]
    assert all(f":{one.port}: " in transition.reason for transition in heard)
