"""Calls in flight: one call, many followers; who leaves ends nothing that others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine

import pytest

from gateway.cache.flight import UNREAD_LIMIT_BYTES, Flight
from gateway.cache.follower import DeadlineExceeded, Follower, Interrupted
from gateway.cache.inflight import InFlight
from gateway.clock import SystemClock
from gateway.supervisor import Supervisor
from router.errors import AttemptsFailed, ProviderError
from router.types import AnswerEvent, Block, Deployment, Finished, Opened, Usage

DEPLOYMENT = Deployment(
    id="d", group="g", provider="p", model="m", backend="openai_wire", api_base="http://x", secret="s", price=None
)
END = Finished(
    deployment=DEPLOYMENT,
    attempts=(),
    body=None,
    usage=Usage(),
    cost_nanousd=0,
    response_model="m",
    finish_reasons=("stop",),
)


class Script:
    """A provider call under the test's command; remembers whether it was closed early."""

    def __init__(self, *, blocks: int = 3, size_bytes: int = 4, error: Exception | None = None) -> None:
        self.gate = asyncio.Semaphore(0)
        self.blocks = blocks
        self.size_bytes = size_bytes
        self.error = error
        self.made = 0
        self.was_cancelled = False

    def allow(self, count: int) -> None:
        for _ in range(count):
            self.gate.release()

    async def run(self) -> AsyncGenerator[AnswerEvent, None]:
        try:
            yield Opened(deployment=DEPLOYMENT, attempts=())
            for index in range(self.blocks):
                await self.gate.acquire()
                self.made += 1
                yield Block(data=bytes([65 + index % 26]) * self.size_bytes)
            await self.gate.acquire()
            if self.error is not None:
                raise self.error
            yield END
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


@pytest.fixture
async def crashes() -> list[str]:
    return []


@pytest.fixture
async def table(crashes: list[str]) -> AsyncIterator[InFlight]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: crashes.append(f"{name}: {error!r}"))
    yield InFlight(supervisor, history_bytes=UNREAD_LIMIT_BYTES * 4)
    await supervisor.close(1.0)


async def read(follower: Follower) -> bytes:
    data = b""
    while True:
        event = await follower.next()
        if isinstance(event, Finished):
            follower.close()
            return data
        if isinstance(event, Block):
            data += event.data


def start(reading: Coroutine[None, None, bytes]) -> asyncio.Task[bytes]:
    return asyncio.create_task(reading)  # noqa: TID251 - the test is the task's owner and awaits it


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_late_followers_get_everything_and_one_call_is_made(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    first = start(read(flight.follow()))
    script.allow(2)
    await settle()
    joined = table.find("k")
    assert joined is flight
    late = start(read(joined.follow()))
    script.allow(2)
    assert await first == await late == b"AAAABBBBCCCC"
    await settle()
    assert table.find("k") is None
    assert table.count == 0


async def test_the_leader_leaving_ends_nothing_for_the_followers(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    leader, other = flight.follow(), flight.follow()
    await leader.next()
    leader.close()
    script.allow(4)
    assert await read(other) == b"AAAABBBBCCCC"
    assert not script.was_cancelled


async def test_the_last_one_leaving_cancels_the_call(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    one, two = flight.follow(), flight.follow()
    await one.next()
    one.close()
    two.close()
    await settle()
    assert script.was_cancelled
    assert table.find("k") is None
    assert table.count == 0


async def test_a_call_nobody_waits_for_can_be_left_to_drain(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    only = flight.follow()
    await only.next()
    only.close(keep_running=True)
    script.allow(4)
    await settle()
    assert flight.finished is END
    assert not script.was_cancelled


async def test_an_error_reaches_every_follower(table: InFlight) -> None:
    error = AttemptsFailed(ProviderError("no", kind="server_error", source="provider"), ())
    script = Script(blocks=1, error=error)
    flight = table.start("k", script.run(), deadline_s=5)
    followers = [start(read(flight.follow())) for _ in range(3)]
    script.allow(2)
    assert await asyncio.gather(*followers, return_exceptions=True) == [error] * 3


async def test_the_deadline_reaches_every_follower(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=0.02)
    with pytest.raises(DeadlineExceeded):
        await read(flight.follow())
    assert script.was_cancelled


async def test_a_followers_own_deadline_ends_its_waiting_and_nothing_else(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    hurried, patient = flight.follow(deadline_s=0.02), start(read(flight.follow(deadline_s=5)))
    with pytest.raises(DeadlineExceeded):
        await read(hurried)
    hurried.close()
    assert (flight.callers, table.callers) == (1, 1)
    script.allow(4)
    assert await patient == b"AAAABBBBCCCC"
    assert table.callers == 0


async def test_a_bug_in_the_call_is_reported_and_does_not_hang_its_followers(
    table: InFlight, crashes: list[str]
) -> None:
    script = Script(blocks=0, error=ZeroDivisionError("bug"))
    flight = table.start("k", script.run(), deadline_s=5)
    script.allow(1)
    with pytest.raises(Interrupted):
        await read(flight.follow())
    await settle()
    assert crashes == ["provider-call: ZeroDivisionError('bug')"]


async def test_cancelling_a_follower_mid_wait_leaves_the_others_alone(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    gone, kept = flight.follow(), start(read(flight.follow()))
    waiting = start(read(gone))
    script.allow(1)
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gone.close()
    script.allow(3)
    assert await kept == b"AAAABBBBCCCC"


async def test_a_call_cancelled_before_its_first_step_is_forgotten(table: InFlight) -> None:
    script = Script()
    flight = table.start("k", script.run(), deadline_s=5)
    flight.follow().close()
    await settle()
    assert table.count == 0
    assert table.find("k") is None


async def test_a_slow_reader_holds_the_provider_back_and_memory_stays_bounded() -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: None)
    history_bytes = 256 * 1024
    table = InFlight(supervisor, history_bytes=history_bytes)
    script = Script(blocks=64, size_bytes=64 * 1024)
    script.allow(100)
    flight: Flight = table.start("k", script.run(), deadline_s=5)
    slow = flight.follow()
    await slow.next()
    for _ in range(300):
        await asyncio.sleep(0)
    assert script.made * 64 * 1024 <= UNREAD_LIMIT_BYTES + 2 * 64 * 1024
    assert table.find("k") is None, "an answer too large to be kept whole is not joined"
    assert len(await read(slow)) == 64 * 64 * 1024
    assert not flight.is_whole
    await supervisor.close(1.0)
