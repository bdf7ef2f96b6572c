"""A client that leaves at every await of the path: nothing is left behind, and one Outcome tells of it.

Each case holds the request at one place by a gate, a silent Redis or a full backlog, never by a clock.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.http.folding import idle_meters, until_callers
from tests.http.running import MODELS, POLICY, Gateway, running_gateway
from tests.nowhere import full_backlog
from tests.provider import Reply
from tests.proxy import DelayingProxy, delaying_proxy

HELLO = [{"role": "user", "content": "hello there"}]
PER_REQUEST = {"provider-call"}
BUDGETED = POLICY.replace(
    "policy: default\n",
    "policy: default\nbudgets: [{scope: tenant, limit_usd: 1000, window: month, hard: false}]\n",
)


@dataclass(slots=True, kw_only=True)
class Held:
    """A gateway behind a proxy to Redis that can fall silent."""

    gateway: Gateway
    redis: DelayingProxy

    async def until_redis_holds_one(self) -> None:
        """Return once a command has been sent to a Redis that keeps its answer."""
        before = self.redis.passed_on
        async with asyncio.timeout(30):
            while self.redis.passed_on == before:  # noqa: ASYNC110 - a few turns of the loop
                await asyncio.sleep(0)


@pytest.fixture
async def held(redis_url: str, tmp_path: Path, nowhere: str) -> AsyncIterator[Held]:
    unreachable = f"""  - {{{{model_name: unreachable,
     litellm_params: {{{{model: openai/up-nowhere, api_base: "{nowhere}", api_key: sk-nowhere}}}}}}}}\n"""
    settings: dict[str, str | bool] = {"redis_timeout_s": "30", "memory_cache_bytes": "0", "drain_s": "0.1"}
    async with (
        delaying_proxy(redis_url, seed=1, delay_s=0.0) as proxy,
        running_gateway(
            tmp_path / "files", proxy.url, models=MODELS + unreachable, policy=BUDGETED, settings=settings
        ) as gateway,
    ):
        yield Held(gateway=gateway, redis=proxy)


@pytest.fixture
def nowhere() -> Iterator[str]:
    with full_backlog() as base:
        yield base


async def at_the_look_up(held: Held) -> None:
    await held.until_redis_holds_one()


async def at_connecting(held: Held) -> None:
    await until_callers(held.gateway, 1)
    await asyncio.sleep(0)


async def at_the_provider(held: Held) -> None:
    await held.gateway.provider.wait_for_requests(1)


async def in_the_pause_before_a_retry(held: Held) -> None:
    await held.gateway.provider.wait_for_requests(1)
    await held.gateway.provider.requests[0].finished.wait()


Reached = Callable[[Held], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request is held: what the provider does there, and how to tell that the request has got there.

    `idle` connections stay, whose last answer was read to its end.
    """

    name: str
    reached: Reached = at_the_provider
    reply: Reply = Reply(gate="never")  # noqa: RUF009 - frozen
    model: str = "small"
    is_redis_silent: bool = False
    text: bytes = b""
    modes: tuple[bool, ...] = (True, False)
    asked: int = 1
    idle: int = 0


PLACES = (
    Place(name="the look-up", reached=at_the_look_up, is_redis_silent=True, asked=0),
    Place(name="connecting", reached=at_connecting, model="unreachable", asked=0),
    Place(name="the headers"),
    Place(name="the first token", reply=Reply(gate="never", gate_at=1), modes=(True,)),
    Place(name="the body", reply=Reply(fault="headers_only"), modes=(False,)),
    Place(
        name="the pause before a retry",
        reached=in_the_pause_before_a_retry,
        reply=Reply(status=429, headers={"retry-after-ms": "1500"}),
        idle=1,
    ),
    Place(name="the middle of the stream", reply=Reply(gate="never", gate_at=3), text=b" there", modes=(True,)),
    Place(name="a stalled stream", reply=Reply(fault="stall", after_events=3), text=b" there", modes=(True,)),
    Place(name="a stream that nobody reads", reply=Reply(fault="endless"), text=b"Hello", modes=(True,)),
)
CASES = [
    pytest.param(p, stream, id=f"{p.name}-{'stream' if stream else 'whole'}") for p in PLACES for stream in p.modes
]


async def ask(held: Held, place: Place, *, stream: bool, seen: asyncio.Event) -> None:
    """Ask and never come to an end; `seen` is set once the place's text has been read."""
    gateway = held.gateway
    body = {"model": place.model, "stream": stream, "messages": HELLO}
    async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
        read = b""
        while place.text not in read:
            read += await answer.content.readany()
        seen.set()
        await asyncio.Event().wait()


async def nothing_is_left(held: Held, outcomes: int, *, idle: int = 0) -> None:
    """Hold that the gateway is as if nobody had ever asked, but for the Outcomes."""
    gateway, inflight = held.gateway, held.gateway.worker.inflight
    async with asyncio.timeout(30):
        while (  # noqa: ASYNC110 - turns of the loop until the hang-up has been noticed
            len(gateway.outcomes) < outcomes
            or PER_REQUEST.intersection(gateway.worker.supervisor.names)
            or gateway.provider.open_connections > idle
        ):
            await asyncio.sleep(0)
    assert (inflight.count, inflight.callers, inflight.open_keys) == (0, 0, 0)
    assert len(gateway.outcomes) == outcomes
    assert len({outcome.request_id for outcome in gateway.outcomes}) == outcomes
    places = gateway.worker.watch.traffic.places
    asked = {attempt.deployment_id for outcome in gateway.outcomes for attempt in outcome.attempts}
    assert [(places.in_flight(name), places.waiting(name)) for name in asked] == [(0, 0)] * len(asked)
    if not held.redis.silent:
        meters = await idle_meters(gateway)
        assert [reserved for _, reserved in meters.values()] == [0] * len(meters)


@pytest.mark.parametrize(("place", "stream"), CASES)
async def test_leaving_at(held: Held, place: Place, stream: bool) -> None:
    gateway, seen = held.gateway, asyncio.Event()
    gateway.provider.always("up-small", place.reply)
    before = set(gateway.worker.supervisor.names)
    if place.is_redis_silent:
        # The key first: who asks is looked up before what is asked.
        with suppress(aiohttp.ClientError):
            await gateway.session.get(gateway.url + "/v1/models")
        held.redis.silent = True
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(ask(held, place, stream=stream, seen=seen))
        await place.reached(held)
        if place.text:
            await seen.wait()
        leaving.cancel()
    await nothing_is_left(held, 1, idle=place.idle)
    [outcome] = gateway.outcomes
    assert (outcome.result, outcome.status) == ("cancelled", 499)
    assert len(gateway.provider.requests) == place.asked
    assert set(gateway.worker.supervisor.names) <= before | {"store lane", "idle"}
    if held.redis.silent:  # what it has swallowed never comes, and the drain would wait for it
        held.redis.silent = False
        held.redis.drop_all()


@pytest.mark.parametrize("stream", [True, False])
async def test_followers_leaving_one_by_one(held: Held, stream: bool) -> None:
    gateway = held.gateway
    gateway.provider.always("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.chat("together", stream=stream)) for _ in range(3)]
        await until_callers(gateway, 3)
        for left, task in enumerate(tasks, start=1):
            task.cancel()
            await until_callers(gateway, 3 - left)
    await nothing_is_left(held, 3)
    assert len(gateway.provider.requests) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_the_queue_for_a_place(held: Held, stream: bool) -> None:
    """A 429 has lowered the limit to 2; two calls have these places, and whoever waits for one leaves."""
    gateway = held.gateway
    gateway.provider.script("up-small", Reply(status=429))
    assert (await gateway.chat("lowers the limit")).status == 200
    name, places = gateway.outcomes[0].attempts[0].deployment_id, gateway.worker.watch.traffic.places
    gateway.provider.always("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        holding = [group.create_task(gateway.chat(f"holds {number}", stream=stream)) for number in range(2)]
        await gateway.provider.wait_for_requests(4)
        leaving = group.create_task(gateway.chat("waits", stream=stream))
        async with asyncio.timeout(30):
            while places.waiting(name) < 1:  # noqa: ASYNC110 - a few turns of the loop
                await asyncio.sleep(0)
            leaving.cancel()
            while len(gateway.outcomes) < 2:  # noqa: ASYNC110 - turns of the loop until the hang-up has been noticed
                await asyncio.sleep(0)
        assert (places.waiting(name), places.in_flight(name)) == (0, 2)
        assert gateway.outcomes[1].attempts == ()
        for task in holding:
            task.cancel()
    await nothing_is_left(held, 4, idle=1)
    assert [outcome.result for outcome in gateway.outcomes] == ["ok", "cancelled", "cancelled", "cancelled"]
    assert len(gateway.provider.requests) == 4


async def test_leaving_in_the_middle_of_the_body(held: Held) -> None:
    """Half a request is no request: nobody is asked, and nothing waits for the other half."""
    gateway = held.gateway
    _, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    body = json.dumps({"model": "small", "messages": HELLO}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[: len(body) // 2])
    await writer.drain()
    writer.close()
    assert await reader.read() == b""
    assert (await gateway.chat("next", stream=False)).status == 200
    assert len(gateway.provider.requests) == 1
    assert gateway.worker.inflight.open_keys == 0


async def test_leaving_while_the_answer_is_being_stored(held: Held) -> None:
    """The answer is complete and Redis silent: the call is over, and only the put waits for its limit."""
    gateway = held.gateway
    gateway.provider.always("up-small", Reply(gate="usage", gate_at=6))
    seen = asyncio.Event()
    place = Place(name="the store", text=b'"finish_reason": "stop"')
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(ask(held, place, stream=True, seen=seen))
        await seen.wait()
        held.redis.silent = True
        gateway.provider.open_gate("usage")
        leaving.cancel()
    async with asyncio.timeout(30):
        while not gateway.outcomes or gateway.worker.inflight.count:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)
    inflight = gateway.worker.inflight
    assert (inflight.count, inflight.callers, inflight.open_keys) == (0, 0, 0)
    assert [outcome.result for outcome in gateway.outcomes] == ["ok"]
    held.redis.silent = False
    held.redis.drop_all()
    nobody_waits = await gateway.chat("next", stream=False)
    assert nobody_waits.status == 200
