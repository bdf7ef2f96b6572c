"""What simulated models have read is known to every process that shares a Redis."""

from __future__ import annotations

import uuid

from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.simulated_prefixes import SharedPrefixes
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.waiting import Command
from router.simulation.prefix_memory import KEEP_S
from tests.clock import FakeClock


def report_crash(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


class Away:
    """A Redis that never answers."""

    async def run(self, *commands: Command) -> list[object]:
        raise StoreUnavailable("away")


async def test_one_process_finds_what_another_has_read_until_it_is_too_old(redis_url: str) -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store, clock = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0), FakeClock()
    here, there, scope = SharedPrefixes(store, clock), SharedPrefixes(store, clock), uuid.uuid4().hex
    try:
        await here.remember(scope, ["a", "b", "d"])
        assert await there.known(scope, ["a", "b", "c", "d"]) == 2
        assert await there.known(scope + "x", ["a"]) == 0
        clock.wind(KEEP_S - 1)
        await there.remember(scope, ["a"])
        clock.wind(2)
        assert await here.known(scope, ["a", "b"]) == 1
        assert (await store.run(("ZCARD", f"foreword:simulated:read:{scope}")))[0] == 3
        await here.remember(scope, ["a"])
        assert (await store.run(("ZCARD", f"foreword:simulated:read:{scope}")))[0] == 1
    finally:
        await store.close()
        await supervisor.close(2.0)


async def test_without_redis_nothing_is_known_and_nothing_fails() -> None:
    prefixes = SharedPrefixes(Away(), FakeClock())
    await prefixes.remember("m", ["a"])
    assert await prefixes.known("m", ["a"]) == 0
