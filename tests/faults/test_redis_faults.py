"""Redis killed, refused, hung, slow, failing over, full, or with the wrong type under a key: no request fails or waits
long, it is used again without help, and each transition is one log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from structlog.testing import capture_logs
from structlog.typing import EventDict

from gateway.cache.exact import store_key
from gateway.ledger import STREAM, read_ledger
from gateway.stores.embedded import EmbeddedRedis
from tests.faults.stores import hung, kill, told
from tests.http.folding import until_shared
from tests.http.running import MODELS, POLICY, Answer, Gateway, running_gateway
from tests.proxy import DelayingProxy, delaying_proxy

TIMEOUT_S = 2.0
"""Long enough for a busy machine not to pass for a slow Redis; 50 ms is what ships."""
SHORT_S = 0.5
MANY = 20


@asynccontextmanager
async def gateway_on(url: str, home: Path, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Gateway]:
    """Start a gateway without a memory tier, so that every request asks Redis, and make its key known to it."""
    settings: dict[str, str | bool] = {"redis_timeout_s": str(timeout_s), "memory_cache_bytes": "0"}
    async with running_gateway(home / "files", url, models=MODELS, policy=POLICY, settings=settings) as gateway:
        first = await gateway.chat("first")
        assert first.status == 200
        await until_shared(gateway, gateway.outcomes[0].cache_key)
        yield gateway


async def ask_many(gateway: Gateway, word: str) -> list[Answer]:
    """Send requests one after the other, each new to the cache; all must be answered well."""
    answers = [await gateway.chat(f"{word} {number}") for number in range(MANY)]
    assert {answer.status for answer in answers} == {200}
    return answers


async def until_state(gateway: Gateway, state: str) -> None:
    async with asyncio.timeout(60):
        while gateway.worker.services.details()["store"] != f"redis {state}":  # noqa: ASYNC110 - a probe of the lane
            await asyncio.sleep(0.01)


async def until_ledger_is_written(gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        while gateway.worker.ledger.waiting:  # noqa: ASYNC110 - its retry runs on the system's clock
            await asyncio.sleep(0.01)


def transitions(lines: list[EventDict]) -> list[str]:
    return [line["event"] for line in lines if line["event"].startswith("redis is")]


def waited_long(gateway: Gateway) -> int:
    """Count the requests that waited for Redis as long as anybody may, by our own account."""
    return sum(outcome.overhead_s > TIMEOUT_S * 0.9 for outcome in gateway.outcomes)


async def is_shared_again(gateway: Gateway) -> None:
    """Hold that answers go into Redis and come out of it."""
    assert (await gateway.chat("back again")).headers["x-foreword-cache"] == "miss"
    await until_shared(gateway, gateway.outcomes[-1].cache_key)
    assert (await gateway.chat("back again")).headers["x-foreword-cache"] == "hit"


async def test_a_hung_redis_costs_one_wait_and_no_request(redis: EmbeddedRedis, tmp_path: Path) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        with capture_logs() as lines:
            async with hung(redis):
                await ask_many(gateway, "hung")
                # Who finds out waits, but not twice; everybody after that is told at once.
                assert waited_long(gateway) <= 1
                assert max(outcome.overhead_s for outcome in gateway.outcomes) < 2 * TIMEOUT_S
            await until_state(gateway, "up")
        assert transitions(lines) == ["redis is down", "redis is up"]
        await is_shared_again(gateway)
        await until_ledger_is_written(gateway)


async def test_a_killed_redis_fails_no_request_under_load_and_is_used_again(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask_many(gateway, f"load {number}")) for number in range(4)]
                await gateway.provider.wait_for_requests(MANY)
                await kill(redis)
            assert sum(len(task.result()) for task in tasks) == 4 * MANY
            await ask_many(gateway, "refused")
            assert transitions(lines) == ["redis is down"]
            await asyncio.to_thread(redis.revive)
            await until_state(gateway, "up")
        assert transitions(lines) == ["redis is down", "redis is up"]
        await is_shared_again(gateway)
        await until_ledger_is_written(gateway)
        assert len(gateway.outcomes) == 1 + 5 * MANY + 2
        assert {outcome.result for outcome in gateway.outcomes} == {"ok"}


async def test_a_slow_redis_makes_nobody_wait_longer_than_its_limit(redis: EmbeddedRedis, tmp_path: Path) -> None:
    async with (
        delaying_proxy(redis.url, seed=1, delay_s=0.0) as proxy,
        gateway_on(proxy.url, tmp_path, timeout_s=SHORT_S) as gateway,
    ):
        with capture_logs() as lines:
            proxy.delay_s = 4 * SHORT_S
            await ask_many(gateway, "slow")
            proxy.delay_s = 0.0
            await until_state(gateway, "up")
        told_of = transitions(lines)
        assert told_of == ["redis is down", "redis is up"] * (len(told_of) // 2)
        await is_shared_again(gateway)


async def test_a_full_redis_refuses_writes_and_nobody_notices(redis: EmbeddedRedis, tmp_path: Path) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        assert await told(redis, "CONFIG", "SET", "maxmemory-policy", "noeviction") == "+OK"
        assert await told(redis, "CONFIG", "SET", "maxmemory", "1") == "+OK"
        assert (await told(redis, "SET", "x", "y")).startswith("-OOM")
        with capture_logs() as lines:
            await ask_many(gateway, "full")
            assert transitions(lines) == ["redis is full"]
            assert gateway.worker.services.details()["store"] == "redis full"
            # What could be read before can be read now.
            assert (await gateway.chat("first")).headers["x-foreword-cache"] == "hit"
            assert await told(redis, "CONFIG", "SET", "maxmemory", "0") == "+OK"
            await ask_many(gateway, "room")
            await until_state(gateway, "up")
        assert transitions(lines) == ["redis is full", "redis is up"]
        assert waited_long(gateway) == 0
        await is_shared_again(gateway)
        await until_ledger_is_written(gateway)
        assert gateway.worker.ledger.dropped == 0


async def test_a_full_redis_lets_nobody_wait_for_an_answer_that_it_refuses(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        store = gateway.worker.store
        assert await store.get_or_claim("asked", b"mine", ttl_s=60) is None
        assert await store.get_or_claim("asked too", b"another's", ttl_s=60) is None
        assert await told(redis, "CONFIG", "SET", "maxmemory-policy", "noeviction") == "+OK"
        assert await told(redis, "CONFIG", "SET", "maxmemory", "1") == "+OK"
        with capture_logs() as lines:
            assert await store.get_or_claim("asked later", b"mine", ttl_s=60) is None
        assert transitions(lines) == ["redis is full"]
        assert await store.get_or_claim("asked too", b"mine", ttl_s=60) == b"another's"
        for key in ("asked", "asked too"):
            store.put_soon(key, b"answer", ttl_s=60, token=b"mine")
        async with asyncio.timeout(30):
            while await store.get("asked") is not None:
                pass
        assert await store.get("asked too") == b"another's"


async def test_the_wrong_type_under_a_key_is_a_miss_that_is_mended(redis: EmbeddedRedis, tmp_path: Path) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        name = store_key(gateway.outcomes[0].cache_key, tenant=gateway.tenant)
        assert await told(redis, "DEL", name) == ":1"
        assert await told(redis, "LPUSH", name, "x") == ":1"
        with capture_logs() as lines:
            again = await gateway.chat("first")
        assert (again.status, again.headers["x-foreword-cache"]) == (200, "miss")
        assert transitions(lines) == []
        await until_shared(gateway, gateway.outcomes[0].cache_key)
        assert (await gateway.chat("first")).headers["x-foreword-cache"] == "hit"


async def test_a_primary_that_becomes_a_replica_is_left_until_it_takes_writes(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        with capture_logs() as lines:
            assert await told(redis, "REPLICAOF", "127.0.0.1", "1") == "+OK"
            assert (await told(redis, "SET", "x", "y")).startswith("-READONLY")
            await ask_many(gateway, "read-only")
            assert transitions(lines) == ["redis is down"]
            assert await told(redis, "REPLICAOF", "NO", "ONE") == "+OK"
            await until_state(gateway, "up")
        assert transitions(lines) == ["redis is down", "redis is up"]
        assert waited_long(gateway) == 0  # who was refused was told at once
        await is_shared_again(gateway)
        await until_ledger_is_written(gateway)
        assert gateway.worker.ledger.dropped == 0


async def test_a_failover_under_load_is_one_transition_however_many_steps_it_takes(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """Killed under load; then loading; then a replica that refuses writes; then promoted."""
    async with delaying_proxy(redis.url, seed=1, delay_s=0.0) as proxy, gateway_on(proxy.url, tmp_path) as gateway:
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask_many(gateway, f"load {number}")) for number in range(2)]
                await gateway.provider.wait_for_requests(MANY // 2)
                await kill(redis)
            assert sum(len(task.result()) for task in tasks) == 2 * MANY
            proxy.says = b"-LOADING Redis is loading the dataset in memory\r\n"
            await asyncio.to_thread(redis.revive)
            assert await told(redis, "REPLICAOF", "127.0.0.1", "1") == "+OK"
            await until_connections(proxy, proxy.connections + 2)
            await ask_many(gateway, "loading")
            proxy.says = b""
            await until_connections(proxy, proxy.connections + 2)
            await ask_many(gateway, "not promoted yet")
            assert transitions(lines) == ["redis is down"]
            assert await told(redis, "REPLICAOF", "NO", "ONE") == "+OK"
            await until_state(gateway, "up")
        assert transitions(lines) == ["redis is down", "redis is up"]
        assert waited_long(gateway) == 0
        await is_shared_again(gateway)
        await until_ledger_is_written(gateway)
        assert {outcome.result for outcome in gateway.outcomes} == {"ok"}
        assert gateway.worker.ledger.dropped == 0


async def test_the_wrong_type_under_the_ledgers_key_fails_nobody_and_loses_nothing(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    async with gateway_on(redis.url, tmp_path) as gateway:
        await until_ledger_is_written(gateway)
        assert await told(redis, "RENAME", STREAM, "aside") == "+OK"
        assert await told(redis, "LPUSH", STREAM, "x") == ":1"
        with capture_logs() as lines:
            await ask_many(gateway, "wrong type")
        assert transitions(lines) == []
        assert waited_long(gateway) == 0
        assert await told(redis, "RENAME", "aside", STREAM) == "+OK"
        await until_ledger_is_written(gateway)
        known = {outcome.request_id async for outcome in read_ledger(gateway.worker.store)}
        assert known >= {outcome.request_id for outcome in gateway.outcomes}


async def until_connections(proxy: DelayingProxy, count: int) -> None:
    """Return once the gateway has come back that often."""
    async with asyncio.timeout(60):
        while proxy.connections < count:  # noqa: ASYNC110 - the lane's probes
            await asyncio.sleep(0.01)
