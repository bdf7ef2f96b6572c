from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.lane import Transition
from gateway.ports import StoreUnavailable
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.proxy import delaying_proxy


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A redis-server that the test may kill."""
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        started = EmbeddedRedis.start(Path(directory))
        yield started
        started.stop()


@asynccontextmanager
async def store_at(
    url: str, *, timeout_s: float = 0.2, heard: list[Transition] | None = None
) -> AsyncIterator[RedisStore]:
    crashes: list[str] = []
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: crashes.append(f"{name}: {error}"))
    hear = heard.append if heard is not None else None
    store = RedisStore(url, supervisor=supervisor, timeout_s=timeout_s, probe_interval_s=0.01, on_transition=hear)
    yield store
    await store.close()
    assert await supervisor.close(1.0) == ()
    assert crashes == []


async def until_up(store: RedisStore) -> None:
    async with asyncio.timeout(30):
        while store.state == "down":  # noqa: ASYNC110 - the probe is what is under test
            await asyncio.sleep(0.002)


async def is_away(store: RedisStore) -> bool:
    """Return whether a read is refused, and insist that it does not hang."""
    async with asyncio.timeout(30):
        try:
            await store.get("foreword:test")
        except StoreUnavailable:
            return True
        return False


@pytest.mark.parametrize("seed", range(3))
async def test_behind_a_slow_network_every_reply_is_for_its_key_whoever_is_cancelled(redis_url: str, seed: int) -> None:
    rng = random.Random(seed)
    prefix = f"foreword:slow:{seed}:"
    checked = 0

    async def use(store: RedisStore, number: int) -> None:
        nonlocal checked
        for turn in range(4):
            key, value = f"{prefix}{number}:{turn}", b"%d:%d;" % (number, turn) * rng.randint(1, 100)
            await store.put(key, value, ttl_s=60)
            assert await store.get(key) == value
            assert await store.get(key + ":none") is None
            assert await store.delete([key, key]) == 1
            checked += 4

    async with (
        delaying_proxy(redis_url, seed=seed, delay_s=0.002) as proxy,
        store_at(proxy.url, timeout_s=10.0) as store,
    ):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(use(store, number)) for number in range(30)]
            for leaving in rng.sample(tasks, 12):
                await asyncio.sleep(rng.random() * 0.03)
                leaving.cancel()
        assert store.state == "up"
        assert proxy.connections == 1
    assert any(task.cancelled() for task in tasks)
    assert checked >= 18 * 4 * 4


async def test_late_replies_of_a_silent_time_never_reach_later_callers(redis_url: str) -> None:
    """Slower than the bound at random: some calls fail, and none gets what another asked for."""
    rng = random.Random(7)
    answered = refused = 0

    async def use(store: RedisStore, number: int) -> None:
        nonlocal answered, refused
        key, value = f"foreword:late:{number}", b"%d" % number
        while answered < 300 or refused < 20:
            try:
                await store.put(key, value, ttl_s=60)
                assert await store.get(key) == value
                answered += 1
            except StoreUnavailable:
                refused += 1
                await asyncio.sleep(rng.random() * 0.005)

    heard: list[Transition] = []
    async with (
        delaying_proxy(redis_url, seed=7, delay_s=0.001) as proxy,
        store_at(proxy.url, timeout_s=0.05, heard=heard) as store,
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
    ):
        for number in range(20):
            group.create_task(use(store, number))
        for _ in range(3):
            await asyncio.sleep(0.02)
            proxy.silent = True
            await asyncio.sleep(0.08)
            proxy.silent = False
            await until_up(store)
    assert "down" in [transition.state for transition in heard]


async def test_a_killed_server_is_refused_at_once_and_used_again_when_back(server: EmbeddedRedis) -> None:
    heard: list[Transition] = []
    async with store_at(server.url, heard=heard) as store:
        await store.put("foreword:test", b"kept", ttl_s=60)
        await asyncio.to_thread(_until_on_disk, server)
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while not await is_away(store):
                pass
        assert await is_away(store)
        async with asyncio.timeout(30):  # its sockets are closed a moment before it has ended
            while not await asyncio.to_thread(server.revive):
                pass
        await until_up(store)
        assert await store.get("foreword:test") == b"kept"
        assert [transition.state for transition in heard] == ["down", "up"]


def _until_on_disk(server: EmbeddedRedis) -> None:
    """Wait for the append-only file, which is written after the reply to a first write may be out."""
    clock = SystemClock()
    until = clock.monotonic() + 5
    data_dir = Path(server.url.removeprefix("unix://")).parent
    while clock.monotonic() < until:
        if any(b"kept" in path.read_bytes() for path in data_dir.rglob("*.aof")):
            return


async def test_a_hanging_server_costs_no_caller_more_than_the_bound(server: EmbeddedRedis) -> None:
    heard: list[Transition] = []
    async with store_at(server.url, timeout_s=0.05, heard=heard) as store:
        await store.put("foreword:test", b"x", ttl_s=60)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(is_away(store)) for _ in range(20)]
            assert all(task.result() for task in tasks)
            assert await is_away(store)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await until_up(store)
        assert await store.get("foreword:test") == b"x"
        assert [transition.state for transition in heard] == ["down", "up"]


@pytest.mark.parametrize(
    "url",
    ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1/0"],
)
async def test_a_server_that_never_was_is_unavailable_and_named_without_its_address(url: str) -> None:
    async with store_at(url) as store:
        with pytest.raises(StoreUnavailable, match="cannot connect") as caught:
            await store.get("foreword:test")
        assert "nowhere" not in str(caught.value)


async def test_a_password_is_in_no_error(redis_url: str) -> None:
    async with delaying_proxy(redis_url, seed=1, delay_s=0) as proxy:
        url = f"redis://user:s3cr3t-password@127.0.0.1:{proxy.port}/0"
        async with store_at(url, timeout_s=1.0) as store:
            with pytest.raises(StoreUnavailable) as caught:
                await store.get("foreword:test")
            assert "s3cr3t" not in str(caught.value) + repr(caught.value.__cause__)


async def test_rediss_speaks_tls_before_anything_else() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard.put(await reader.read(3))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with store_at(f"rediss://user:password@127.0.0.1:{port}/0", timeout_s=1.0) as store:
            with pytest.raises(StoreUnavailable, match="cannot connect"):
                await store.get("foreword:test")
    assert (await heard.get())[:2] == b"\x16\x03"


async def test_a_refused_command_is_one_callers_trouble(redis_url: str) -> None:
    async with store_at(redis_url) as store:
        await store.hash_set("foreword:test:hash", "f", b"v")
        async with asyncio.TaskGroup() as group:
            wrong = group.create_task(_refusal(store))
            right = group.create_task(store.hash_get("foreword:test:hash", "f"))
        assert wrong.result() == "redis refused GET: WRONGTYPE"
        assert right.result() == b"v"
        assert store.state == "up"


async def _refusal(store: RedisStore) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await store.get("foreword:test:hash")
    return str(caught.value)


async def test_settings_in_the_url_cannot_change_how_replies_are_read(redis_url: str) -> None:
    async with store_at(f"{redis_url}?decode_responses=true&protocol=3&retry_on_timeout=true") as store:
        await store.put("foreword:test:bytes", b"\xff", ttl_s=60)
        assert await store.get("foreword:test:bytes") == b"\xff"


@pytest.mark.parametrize(
    ("url", "told"),
    [("http://127.0.0.1", "redis://, rediss://, unix://"), ("redis://127.0.0.1/0?tiemout=3", "tiemout")],
)
def test_a_url_that_is_none_is_an_error_when_made(url: str, told: str) -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda *crash: pytest.fail(str(crash)))
    with pytest.raises(ValueError, match=told):
        RedisStore(url, supervisor=supervisor)
