"""Two gateways on one Redis: the same unstreamed request costs one provider call, and a crashed holder delays nobody
for longer than the wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cache.exact import store_key
from gateway.cache.lease import Leases, lease_name
from gateway.clock import SystemClock
from tests.http.folding import until_callers, until_no_calls, until_shared
from tests.http.running import MODELS, POLICY, Answer, Gateway, running_gateway
from tests.provider import Reply

WAIT_S = "5"


@pytest.fixture
async def pair(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways with files of the same text, each before a provider of its own, so that calls can be told apart."""
    settings: dict[str, str | bool] = {"lease_wait_s": WAIT_S}
    async with (
        running_gateway(tmp_path / "one", redis_url, models=MODELS, policy=POLICY, settings=settings) as one,
        running_gateway(tmp_path / "two", redis_url, models=MODELS, policy=POLICY, settings=settings) as two,
    ):
        yield one, two


async def ask(gateway: Gateway, key: str, text: str, *, stream: bool = False) -> Answer:
    """Ask with the tenant of `key`, which is not the gateway's own."""
    body = {"model": "small", "stream": stream, "messages": [{"role": "user", "content": text}]}
    return await gateway.post("/v1/chat/completions", body, Authorization=f"Bearer {key}")


def calls(*gateways: Gateway) -> int:
    return sum(len(gateway.provider.requests) for gateway in gateways)


def place(gateway: Gateway) -> str:
    """Return where the answer to the first request is in Redis, and the claim on it before."""
    return store_key(gateway.outcomes[0].cache_key, tenant=gateway.outcomes[0].tenant)


async def test_the_same_request_at_two_gateways_is_one_provider_call(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    one.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(one, one.key, "together"))
        await one.provider.wait_for_requests(1)
        others = [group.create_task(ask(two, one.key, "together")) for _ in range(5)]
        others.append(group.create_task(ask(one, one.key, "together")))
        await until_callers(one, 2)
        one.provider.open_gate("answer")
    assert calls(one, two) == 1
    assert {task.result().body for task in others} == {first.result().body}
    told = [task.result().headers["x-foreword-cache"] for task in others]
    assert told == ["hit"] * 5 + ["joined"]
    # Waiting for another worker's provider call is no overhead of ours.
    assert max(outcome.overhead_s for outcome in two.outcomes) < 1


async def test_when_the_holder_fails_the_next_one_calls(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    one.provider.always("*", Reply(status=400, gate="answer"))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(one, one.key, "fails"))
        await one.provider.wait_for_requests(1)
        second = group.create_task(ask(two, one.key, "fails"))
        await asyncio.sleep(0)
        one.provider.open_gate("answer")
    assert (first.result().status, second.result().status) == (400, 200)
    assert (calls(one), calls(two)) == (1, 1)
    assert two.outcomes[0].total_s < float(WAIT_S) / 2  # given up, not expired


async def test_when_the_holders_client_leaves_the_next_one_calls(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    one.provider.always("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(one, one.key, "leaves"))
        await one.provider.wait_for_requests(1)
        second = group.create_task(ask(two, one.key, "leaves"))
        first.cancel()
    await until_no_calls(one)
    assert second.result().status == 200
    assert calls(two) == 1
    assert two.outcomes[0].total_s < float(WAIT_S) / 2


async def test_beside_an_answer_that_cannot_be_read_one_of_two_calls_and_the_other_has_its_answer(
    pair: tuple[Gateway, Gateway],
) -> None:
    one, two = pair
    await ask(one, one.key, "damaged")
    await until_shared(one, one.outcomes[0].cache_key)
    await one.worker.store.put(place(one), b"damaged", ttl_s=60)
    one.worker.parts.exact.forget(lambda _key, _answer: True)
    one.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(one, one.key, "damaged"))
        await one.provider.wait_for_requests(2)
        other = group.create_task(ask(two, one.key, "damaged"))
        await asyncio.sleep(0.05)
        assert await one.worker.store.get(place(one)) == b"damaged"  # an old answer may have to stand in yet
        one.provider.open_gate("answer")
    assert (calls(one), calls(two)) == (2, 0)
    assert other.result().headers["x-foreword-cache"] == "hit"


async def test_a_stream_waits_for_nobody(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    one.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(one, one.key, "streamed"))
        await one.provider.wait_for_requests(1)
        assert (await ask(two, one.key, "streamed", stream=True)).status == 200
        one.provider.open_gate("answer")
    assert (calls(one), calls(two)) == (1, 1)


async def test_a_crashed_holder_is_waited_for_no_longer_than_the_limit(redis_url: str, tmp_path: Path) -> None:
    settings: dict[str, str | bool] = {"lease_wait_s": "0.2"}
    async with running_gateway(tmp_path / "one", redis_url, models=MODELS, policy=POLICY, settings=settings) as gateway:
        store = gateway.worker.store
        await gateway.chat("crash")
        await until_shared(gateway, gateway.outcomes[0].cache_key)
        name = lease_name(gateway.outcomes[0].cache_key, tenant=gateway.tenant)
        assert await store.claim(name, b"of the dead", ttl_s=60)
        again = await gateway.chat("crash", headers={"Cache-Control": "max-age=0"})
        assert (again.status, again.headers["x-foreword-cache"]) == (200, "miss")
        assert len(gateway.provider.requests) == 2
        assert await store.get(name) == b"of the dead"  # what is not ours is not given up


async def test_a_crashed_holder_of_an_answers_place_is_waited_for_and_its_claim_replaced(
    redis_url: str, tmp_path: Path
) -> None:
    settings: dict[str, str | bool] = {"lease_wait_s": "0.2", "memory_cache_bytes": "0"}
    async with running_gateway(tmp_path / "one", redis_url, models=MODELS, policy=POLICY, settings=settings) as gateway:
        store = gateway.worker.store
        await gateway.chat("crash")
        await until_shared(gateway, gateway.outcomes[0].cache_key)
        await store.delete([place(gateway)])
        dead = Leases(store, SystemClock(), wait_s=60.0).draw(place(gateway))
        assert await store.get_or_claim(dead.name, dead.token, ttl_s=dead.ttl_s) is None
        streamed = await gateway.chat("crash", stream=True, headers={"Cache-Control": "no-store"})
        assert streamed.headers["x-foreword-cache"] == "miss"  # who waits for nobody finds no answer in a claim
        assert await store.get(place(gateway)) == dead.token
        again = await gateway.chat("crash")
        assert (again.status, again.headers["x-foreword-cache"]) == (200, "miss")
        assert gateway.outcomes[-1].total_s >= 0.15
        await until_shared(gateway, gateway.outcomes[0].cache_key)
        assert (await gateway.chat("crash")).headers["x-foreword-cache"] == "hit"


async def test_leaving_while_waiting_leaves_nothing_behind(pair: tuple[Gateway, Gateway]) -> None:
    one, two = pair
    one.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(one, one.key, "waits"))
        await one.provider.wait_for_requests(1)
        waiting = group.create_task(ask(two, one.key, "waits"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        async with asyncio.timeout(30):
            while not two.outcomes:  # noqa: ASYNC110 - turns of the loop until the hang-up has been noticed
                await asyncio.sleep(0)
        one.provider.open_gate("answer")
    assert [outcome.result for outcome in two.outcomes] == ["cancelled"]
    assert calls(one, two) == 1
    assert "provider-call" not in two.worker.supervisor.names


@pytest.mark.parametrize(("warming", "is_claimed"), [("", False), ("warming: {limit_usd_day: 1}\n", True)])
async def test_a_lone_worker_takes_a_lease_only_where_a_warmer_may_ask_the_same(
    redis_url: str, tmp_path: Path, warming: str, is_claimed: bool
) -> None:
    settings: dict[str, str | bool] = {"lease_wait_s": WAIT_S, "is_alone": True}
    policy = POLICY + warming
    async with running_gateway(tmp_path / "one", redis_url, models=MODELS, policy=policy, settings=settings) as gateway:
        gateway.provider.always("up-small", Reply(gate="answer"))
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.chat("alone"))
            await gateway.provider.wait_for_requests(1)
            names = [name async for name in gateway.worker.store.scan(f"foreword:cache:{{{gateway.tenant}}}:")]
            gateway.provider.open_gate("answer")
    assert bool(names) == is_claimed


async def test_a_wait_of_0_takes_no_lease(redis_url: str, tmp_path: Path) -> None:
    settings: dict[str, str | bool] = {"lease_wait_s": "0"}
    async with running_gateway(tmp_path / "one", redis_url, models=MODELS, policy=POLICY, settings=settings) as gateway:
        gateway.provider.always("up-small", Reply(gate="answer"))
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(gateway.chat("off", stream=stream)) for stream in (False, True)]
            await gateway.provider.wait_for_requests(1)
            store = gateway.worker.store
            names = [name async for name in store.scan(f"foreword:cache:{{{gateway.tenant}}}")]
            assert names == []
            gateway.provider.open_gate("answer")
        assert [task.result().status for task in both] == [200, 200]
