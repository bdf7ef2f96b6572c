"""The stores that budgets are proven on: one real Redis server, and a real Cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from tests.clock import FakeClock


@pytest.fixture(params=["one server", "cluster"])
async def store(request: pytest.FixtureRequest, redis_url: str, cluster_url: str) -> AsyncIterator[RedisStore]:
    clock = FakeClock()
    supervisor = Supervisor(clock=clock, on_crash=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    url = cluster_url if request.param == "cluster" else redis_url
    opened = RedisStore(url, supervisor=supervisor, timeout_s=5.0)
    yield opened
    await opened.close()
    await supervisor.close(1.0)
