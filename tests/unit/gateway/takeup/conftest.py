"""One bench a test, with a tenant and a queue of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from gateway.announced.shelf import Shelf
from gateway.clock import SystemClock
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.clock import FakeClock
from tests.unit.gateway.takeup.scripted import Bench, Lane


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    def report_crash(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    lane, name = Lane(store=store), uuid.uuid4().hex
    # Redis has a clock of its own, so this one must not be far from it.
    clock = FakeClock(now=SystemClock().now())
    yield Bench(shelf=Shelf(lane, clock, due=f"test:due:{name}"), lane=lane, clock=clock, tenant=f"t {name}")
    await store.close()
    await supervisor.close(2.0)
