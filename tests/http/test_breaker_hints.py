"""Two gateways on one Redis: what one finds out about a provider, the other hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.http.conftest import StartGateway
from tests.http.running import MODELS, Answer, Gateway
from tests.provider import Reply


async def test_another_gateway_hears_that_a_breaker_opened_and_that_its_probe_was_answered(
    start_gateway: StartGateway,
) -> None:
    first = await start_gateway()
    second = await start_gateway(models=MODELS.replace("{base}", first.provider.api_base))
    (name,) = [d.id for d in second.worker.services.deployments.usable if d.group == "embed"]
    here, there = (gateway.worker.watch.traffic.breakers for gateway in (first, second))
    first.provider.always("up-embed", Reply(status=500))
    while here.state(name) == "closed":
        assert (await _embed(first)).status == 502
    opened_s = first.worker.services.clock.monotonic()
    # No request of the second gateway has failed: "half open" can only be hearsay.
    await _until(lambda: there.would_admit(name, opened_s) and there.state(name) == "half_open")
    assert (await _embed(second)).status == 502
    assert there.state(name) == "open"
    assert not there.would_admit(name, opened_s)
    first.provider.always("up-embed", Reply())
    assert (await _embed(first)).status == 200  # the last candidate is asked although its breaker is open
    assert here.state(name) == "closed"
    # At a moment when its own waiting cannot be over yet.
    await _until(lambda: there.would_admit(name, opened_s))
    assert (await _embed(second)).status == 200
    assert there.state(name) == "closed"


async def _embed(gateway: Gateway) -> Answer:
    return await gateway.post("/v1/embeddings", {"model": "embed", "input": "text"}, Cache_Control="no-store, no-cache")


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - it polls what other tasks fetch
            await asyncio.sleep(0.01)
