"""The pace of a call that several follow: the fastest sets it, late ones catch up, silence is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.cache.flight import JOINED_BYTES, UNREAD_LIMIT_BYTES, Flight
from gateway.cache.follower import FellBehind, Follower
from router.time_limits import TimeLimits
from router.types import AnswerEvent, Block, Finished, Opened
from tests.unit.gateway.cache.test_inflight import DEPLOYMENT, END
from tests.virtual_time import in_virtual_time

HISTORY_BYTES = 4 * UNREAD_LIMIT_BYTES
SIZE_BYTES = 16 * 1024
OPENED = Opened(deployment=DEPLOYMENT, attempts=())


class Call:
    """A flight whose provider makes `blocks` as fast as it is read, or one every `every_s`."""

    def __init__(self, *, blocks: int, every_s: float = 0.0) -> None:
        self.flight = Flight("k", limits=TimeLimits(), history_bytes=HISTORY_BYTES)
        self.made_bytes = 0
        self._blocks = blocks
        self._every_s = every_s

    async def run(self) -> None:
        await self.flight.run(self._events(), deadline_s=1_000)

    async def _events(self) -> AsyncGenerator[AnswerEvent, None]:
        yield OPENED
        for _ in range(self._blocks):
            await asyncio.sleep(self._every_s)
            self.made_bytes += SIZE_BYTES
            yield Block(data=b"x" * SIZE_BYTES)
        yield END


async def read_on(follower: Follower, size_bytes: int) -> None:
    """Read at least so much more."""
    target = follower.read_bytes + size_bytes
    while follower.read_bytes < target:
        await follower.next()


async def settle() -> None:
    for _ in range(1_000):
        await asyncio.sleep(0)


async def test_the_fastest_reader_sets_the_pace_and_a_laggard_reads_what_is_kept() -> None:
    call = Call(blocks=10_000)
    fast, slow = call.flight.follow(), call.flight.follow()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(call.run())
        await read_on(fast, HISTORY_BYTES // 2)
        assert slow.read_bytes == 0
        await read_on(slow, HISTORY_BYTES // 2)
        running.cancel()


async def test_a_laggard_further_behind_than_what_is_kept_loses_the_answer_and_memory_stays_bounded() -> None:
    blocks = 4 * HISTORY_BYTES // SIZE_BYTES
    call = Call(blocks=blocks)
    fast, slow = call.flight.follow(), call.flight.follow()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call.run())
        await slow.next()
        while not isinstance(await fast.next(), Finished):
            assert len(call.flight.blocks()) <= HISTORY_BYTES + SIZE_BYTES
    assert fast.read_bytes == blocks * SIZE_BYTES
    with pytest.raises(FellBehind, match=f"more than {HISTORY_BYTES} bytes behind"):
        await slow.next()


async def test_once_the_fastest_has_left_the_provider_waits_for_the_next() -> None:
    call = Call(blocks=10_000)
    fast, slow = call.flight.follow(), call.flight.follow()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(call.run())
        await read_on(fast, 2 * UNREAD_LIMIT_BYTES)
        fast.close()
        await settle()
        made_bytes = call.made_bytes
        assert call.flight.is_held_back
        await read_on(slow, UNREAD_LIMIT_BYTES // 2)
        await settle()
        assert call.made_bytes == made_bytes, "what the fast one left behind is to be read first"
        await read_on(slow, 2 * UNREAD_LIMIT_BYTES)
        await settle()
        assert call.made_bytes > made_bytes
        running.cancel()


async def test_a_late_caller_gets_what_has_happened_in_few_blocks_and_the_same_bytes() -> None:
    call = Call(blocks=9)
    first = call.flight.follow()
    await call.run()
    late = call.flight.follow()
    told = [await late.next() for _ in range(4)]
    sizes = [len(event.data) for event in told if isinstance(event, Block)]
    assert sizes == [JOINED_BYTES, JOINED_BYTES, SIZE_BYTES]
    assert b"".join(event.data for event in told if isinstance(event, Block)) == call.flight.blocks()
    assert await late.next() is END
    first.close()


async def test_who_joins_gets_what_is_there_without_waiting_for_a_turn_of_the_loop() -> None:
    call = Call(blocks=9)
    first = call.flight.follow()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(call.run())
        await read_on(first, SIZE_BYTES)
        late = call.flight.follow()
        for expected in (OPENED, Block(data=b"x" * call.flight.sent_bytes)):
            with pytest.raises(StopIteration) as returned:
                late.next().send(None)
            assert returned.value.value == expected
        running.cancel()


def test_silence_is_told_once_per_interval_and_never_while_the_provider_speaks() -> None:
    async def scenario() -> None:
        call = Call(blocks=2, every_s=50.0)
        loop = asyncio.get_running_loop()
        follower = call.flight.follow(heartbeat_s=15.0)
        told: list[tuple[float, object]] = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call.run())
            while not isinstance(event := await follower.next_or_quiet(), Finished):
                told.append((loop.time(), event and type(event)))
        follower.close()
        assert told == [
            *[(0.0, Opened), (30.0, None), (45.0, None), (50.0, Block)],
            *[(75.0, None), (90.0, None), (100.0, Block)],
        ]

    in_virtual_time(scenario())


def test_a_caller_who_waits_from_the_start_hears_after_the_first_interval() -> None:
    async def scenario() -> None:
        flight = Flight("k", limits=TimeLimits(), history_bytes=HISTORY_BYTES)
        follower = flight.follow(heartbeat_s=15.0, deadline_s=40.0)
        assert await follower.next_or_quiet() is None
        assert asyncio.get_running_loop().time() == 15.0
        follower.close()

    in_virtual_time(scenario())


def test_a_steady_stream_is_never_called_quiet() -> None:
    async def scenario() -> None:
        call = Call(blocks=20, every_s=9.0)
        follower = call.flight.follow(heartbeat_s=10.0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call.run())
            while not isinstance(event := await follower.next_or_quiet(), Finished):
                assert event is not None
        follower.close()

    in_virtual_time(scenario())
