"""What one worker says of a deployment reaches the others, soon, once, and never as proof."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence

import pytest

from gateway.breaker_hints import TTL_S, SharedHints
from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from router.breaker import BreakerRules, Breakers
from router.ports import BreakerHint
from tests.clock import FakeClock

KNOWN = frozenset({"d", "e"})
OPEN = BreakerHint(deployment_id="d", is_open=True)
CLOSED = BreakerHint(deployment_id="d", is_open=False)


class LeavingStore(MemoryStore):
    """The shipped memory store; `is_away` makes its streams unavailable."""

    is_away = False

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None:
        self._check()
        await super().append(stream, entries, max_entries=max_entries)

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        self._check()
        return await super().read(stream, after=after, limit=limit)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> LeavingStore:
    return LeavingStore(clock, max_bytes=1 << 20)


@pytest.fixture
def two(store: LeavingStore, clock: FakeClock) -> tuple[SharedHints, SharedHints]:
    return SharedHints(store, clock=clock, known=KNOWN), SharedHints(store, clock=clock, known=KNOWN)


async def test_what_one_publishes_the_other_observes_once_and_itself_never(
    two: tuple[SharedHints, SharedHints],
) -> None:
    here, there = two
    here.publish("d", is_open=True)
    for hints in (here, there):
        await hints.exchange()
    assert list(there.observe()) == [OPEN]
    await there.exchange()
    assert list(there.observe()) == []
    assert list(here.observe()) == []


async def test_of_a_deployment_only_the_latest_word_counts(two: tuple[SharedHints, SharedHints]) -> None:
    here, there = two
    for is_open in (True, False):
        here.publish("d", is_open=is_open)
        await here.exchange()
    await there.exchange()
    assert list(there.observe()) == [CLOSED]


async def test_hints_that_nobody_took_in_time_expire(two: tuple[SharedHints, SharedHints], clock: FakeClock) -> None:
    here, there = two
    here.publish("d", is_open=True)
    await here.exchange()
    await there.exchange()
    clock.wind(TTL_S + 1)
    assert list(there.observe()) == []


async def test_a_store_that_was_away_is_told_later_what_is_not_too_old(
    two: tuple[SharedHints, SharedHints], store: LeavingStore, clock: FakeClock
) -> None:
    here, there = two
    store.is_away = True
    here.publish("e", is_open=True)
    await here.exchange()
    clock.wind(TTL_S - 1)
    here.publish("d", is_open=True)
    await here.exchange()
    await there.exchange()
    assert list(there.observe()) == []
    clock.wind(2)
    store.is_away = False
    await here.exchange()
    await there.exchange()
    assert list(there.observe()) == [OPEN]


async def test_what_nobody_here_can_mean_is_ignored(two: tuple[SharedHints, SharedHints], store: LeavingStore) -> None:
    here, there = two
    here.publish("elsewhere", is_open=True)
    await here.exchange()
    await store.append("foreword:breaker-hints", [b"not ours", b'{"v": 2}'], max_entries=10)
    here.publish("d", is_open=True)
    await here.exchange()
    await there.exchange()
    assert list(there.observe()) == [OPEN]


async def test_more_than_a_page_is_read_at_once(two: tuple[SharedHints, SharedHints], store: LeavingStore) -> None:
    here, there = two
    await store.append("foreword:breaker-hints", [b"{}"] * 450, max_entries=1000)
    here.publish("d", is_open=True)
    await here.exchange()
    await there.exchange()
    assert list(there.observe()) == [OPEN]


async def test_breakers_over_one_redis_learn_of_a_failure_and_of_a_recovery_by_themselves(redis_url: str) -> None:
    clock, stream = SystemClock(), f"hints-{uuid.uuid4().hex}"
    supervisor = Supervisor(clock=clock, on_crash=lambda name, error: None)
    stores = [RedisStore(redis_url, supervisor=supervisor, timeout_s=2.0) for _ in range(2)]
    told = [SharedHints(store, clock=clock, known=KNOWN, stream=stream) for store in stores]
    for hints in told:
        hints.start(supervisor)
    here, there = (Breakers(BreakerRules(), hints=hints) for hints in told)
    for breakers in (here, there):
        for _ in range(5):
            breakers.failed("d", 100.0, "server_error")
    assert not there.would_admit("d", 100.0)
    for _ in range(5):
        here.failed("e", 100.0, "server_error")
    # The breakers' own time stands still: only a hint can move them.
    await _until(lambda: there.would_admit("e", 100.0) and there.state("e") == "half_open")
    here.succeeded("d", 100.0)
    await _until(lambda: there.would_admit("d", 100.0))
    await supervisor.close(2.0)
    for store in stores:
        await store.close()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - it polls what other tasks fetch
            await asyncio.sleep(0.01)
