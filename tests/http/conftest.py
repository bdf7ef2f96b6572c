"""One whole gateway per test, in this process, on a real socket, before a scripted provider and a real Redis.

Wired by gateway.app itself: nothing of ours is replaced. Each gateway has a tenant of its own, so tests share a Redis.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.cache.semantic.types import Embedder
from tests.http.running import MODELS, POLICY, Gateway, running_gateway

StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start_gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[StartGateway]:
    """Return a function that starts a gateway; keyword arguments are settings, `models` and `policy` are file texts."""
    async with AsyncExitStack() as stack:

        async def started(
            *, models: str = MODELS, policy: str = POLICY, embedder: Embedder | None = None, **settings: str | bool
        ) -> Gateway:
            home = tmp_path / uuid.uuid4().hex
            running = running_gateway(
                home, redis_url, models=models, policy=policy, settings=settings, embedder=embedder
            )
            return await stack.enter_async_context(running)

        yield started


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with the files and settings of running.py."""
    return await start_gateway()
