"""The lane with a link that a test holds in its hand; the real one is tested in stores/test_redis.py."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.clock import SystemClock
from gateway.lane import MAX_BATCH, Lane, LinkDown, Transition
from gateway.ports import StoreUnavailable
from gateway.supervisor import Supervisor
from gateway.waiting import Command


class EchoLink:
    """Answers every command with itself; `gate` holds answers back, `is_broken` fails everything."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.opened = 0
        self.dropped = 0
        self.is_broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.on_send: Callable[[], None] = lambda: None

    async def open(self) -> None:
        self.opened += 1
        if self.is_broken:
            raise LinkDown("refused")

    async def round_trip(self, commands: Sequence[Command]) -> Sequence[object]:
        self.batches.append(len(commands))
        self.on_send()
        await self.gate.wait()
        if self.is_broken:
            raise LinkDown("connection lost")
        return list(commands)

    async def drop(self) -> None:
        self.dropped += 1


@asynccontextmanager
async def lane_over(
    link: EchoLink, *, timeout_s: float = 5.0, heard: list[Transition] | None = None
) -> AsyncIterator[Lane]:
    crashes: list[str] = []
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: crashes.append(f"{name}: {error!r}"))
    hear = heard.append if heard is not None else None
    lane = Lane(link, supervisor=supervisor, timeout_s=timeout_s, probe_interval_s=0.005, on_transition=hear)
    yield lane
    await lane.close()
    assert await supervisor.close(1.0) == ()
    assert crashes == []


async def until_up(lane: Lane) -> None:
    async with asyncio.timeout(30):
        while lane.state == "down":  # noqa: ASYNC110 - the probe is what is under test
            await asyncio.sleep(0.001)


async def test_commands_of_concurrent_callers_share_a_round_trip() -> None:
    link = EchoLink()
    async with lane_over(link) as lane:
        await lane.ask(("FIRST",))
        async with asyncio.TaskGroup() as group:
            asks = [group.create_task(lane.ask(("GET", number))) for number in range(50)]
        assert [ask.result() for ask in asks] == [[("GET", number)] for number in range(50)]
        assert link.batches == [1, 50]


async def test_a_batch_is_bounded() -> None:
    link = EchoLink()
    async with lane_over(link) as lane, asyncio.TaskGroup() as group:
        for number in range(MAX_BATCH * 2 + 1):
            group.create_task(lane.ask(("GET", number)))
    assert link.batches == [MAX_BATCH, MAX_BATCH, 1]


async def test_a_caller_that_leaves_takes_no_reply_of_another() -> None:
    link = EchoLink()
    async with lane_over(link) as lane:
        link.gate.clear()
        async with asyncio.TaskGroup() as group:
            asks = [group.create_task(lane.ask(("GET", n), ("GET", -n))) for n in range(20)]
            link.on_send = lambda: _cancel(asks[::3])
            late = group.create_task(_after(lane, link))
        assert link.opened == 1
        assert link.batches[0] == 40
        for number, ask in enumerate(asks):
            assert ask.cancelled() if number % 3 == 0 else ask.result() == [("GET", number), ("GET", -number)]
        assert late.result() == [("LATE",)]


def _cancel(tasks: Sequence[asyncio.Task[Sequence[object]]]) -> None:
    for task in tasks:
        task.cancel()


async def _after(lane: Lane, link: EchoLink) -> Sequence[object]:
    while not link.batches:  # noqa: ASYNC110 - waits for the lane's own task to be scheduled
        await asyncio.sleep(0)
    link.on_send = lambda: None
    link.gate.set()
    return await lane.ask(("LATE",))


async def test_a_command_whose_caller_left_before_it_was_sent_is_not_sent() -> None:
    link = EchoLink()
    async with lane_over(link) as lane, asyncio.TaskGroup() as group:
        asks = [group.create_task(lane.ask(("GET", n))) for n in range(4)]
        await asyncio.sleep(0)
        asks[1].cancel()
    assert link.batches == [3]


async def test_silence_is_bounded_and_later_callers_fail_at_once() -> None:
    link, heard = EchoLink(), list[Transition]()
    async with lane_over(link, timeout_s=0.02, heard=heard) as lane:
        await lane.ask(("FIRST",))
        link.gate.clear()
        with pytest.raises(StoreUnavailable, match="no answer within 20 ms"):
            await lane.ask(("GET",))
        assert lane.state == "down"
        with pytest.raises(StoreUnavailable):
            await lane.ask(("GET",))
        assert len(link.batches) == 2
        link.gate.set()
        await until_up(lane)
        assert await lane.ask(("AGAIN",)) == [("AGAIN",)]
        assert [transition.state for transition in heard] == ["down", "up"]
        assert heard[0].reason == "no answer within 20 ms"


async def test_who_queues_behind_a_silent_batch_waits_no_longer_than_the_bound() -> None:
    link = EchoLink()
    async with lane_over(link, timeout_s=0.02) as lane:
        await lane.ask(("FIRST",))
        link.gate.clear()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_fails(lane))
            await asyncio.sleep(0)
            queued = [group.create_task(_fails(lane)) for _ in range(5)]
        assert first.result()
        assert all(task.result() for task in queued)
        assert len(link.batches) == 2


async def _fails(lane: Lane) -> bool:
    try:
        await lane.ask(("GET",))
    except StoreUnavailable:
        return True
    return False


async def test_a_busy_event_loop_is_not_taken_for_a_silent_server() -> None:
    link = EchoLink()
    async with lane_over(link, timeout_s=0.02) as lane:
        await lane.ask(("FIRST",))
        clock, loop = SystemClock(), asyncio.get_running_loop()

        def hog() -> None:
            until = clock.monotonic() + 0.06
            while clock.monotonic() < until:
                pass
            # The answer is found one turn of the loop after the timer that is overdue by then.
            link.gate.clear()
            loop.call_soon(loop.call_soon, link.gate.set)

        link.on_send = hog
        assert await lane.ask(("GET",)) == [("GET",)]
        assert lane.state == "up"


async def test_one_probe_at_a_time_until_the_server_is_back() -> None:
    link, heard = EchoLink(), list[Transition]()
    link.is_broken = True
    async with lane_over(link, heard=heard) as lane:
        assert await _fails(lane)
        async with asyncio.timeout(30):
            while link.opened < 4:
                assert await _fails(lane)
                await asyncio.sleep(0.001)
        assert link.batches == []
        link.is_broken = False
        await until_up(lane)
        assert [(transition.state, transition.reason) for transition in heard] == [
            ("down", "refused"),
            ("up", "connected"),
        ]


async def test_a_link_that_breaks_on_the_way_tells_everybody() -> None:
    link = EchoLink()
    async with lane_over(link) as lane:
        await lane.ask(("FIRST",))
        link.is_broken = True
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_fails(lane)) for _ in range(MAX_BATCH + 5)]
        assert all(task.result() for task in tasks)
        assert link.batches == [1, MAX_BATCH]


async def test_closing_tells_whoever_waits_and_whoever_comes() -> None:
    link = EchoLink()
    async with lane_over(link) as lane:
        await lane.ask(("FIRST",))
        link.gate.clear()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(_fails(lane)) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await lane.close()
        assert all(task.result() for task in waiting)
        with pytest.raises(StoreUnavailable, match="closed"):
            await lane.ask(("GET",))


async def test_a_closing_supervisor_makes_the_store_unavailable() -> None:
    crashes: list[tuple[str, BaseException]] = []
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda *crash: crashes.append(crash))
    await supervisor.close(1.0)
    lane = Lane(EchoLink(), supervisor=supervisor, timeout_s=1.0)
    with pytest.raises(StoreUnavailable, match="closing"):
        await lane.ask(("GET",))


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_cancelled_every_reply_is_its_own(seed: int) -> None:
    rng = random.Random(seed)
    link = EchoLink()

    async def use(lane: Lane, number: int) -> None:
        for turn in range(10):
            commands = tuple(("GET", number, turn, part) for part in range(rng.randint(1, 4)))
            assert await lane.ask(*commands) == list(commands)
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)

    async with lane_over(link) as lane, asyncio.TaskGroup() as group:
        tasks = [group.create_task(use(lane, number)) for number in range(60)]
        for _ in range(30):
            await asyncio.sleep(0)
            rng.choice(tasks).cancel()
    assert any(not task.cancelled() for task in tasks)
    assert any(task.cancelled() for task in tasks)


async def test_posted_commands_go_out_in_order_and_tell_how_it_went() -> None:
    link = EchoLink()
    told: list[object] = []
    async with lane_over(link) as lane:
        lane.post(("SET", 1), told=told.append)
        assert await lane.ask(("GET", 1)) == [("GET", 1)]
        assert told == [[("SET", 1)]]
        assert link.batches == [2]


async def test_posted_commands_are_told_of_a_link_that_breaks() -> None:
    link = EchoLink()
    told: list[object] = []
    async with lane_over(link) as lane:
        await lane.ask(("FIRST",))
        link.is_broken = True
        lane.post(("SET", 1), told=told.append)
        with pytest.raises(StoreUnavailable):
            await lane.ask(("GET", 1))
        lane.post(("SET", 2), told=told.append)
        assert told == [None, None]


async def test_a_lane_comes_back_from_giving_callers_up_before_anything_was_sent() -> None:
    link = EchoLink()
    async with lane_over(link) as lane:
        await lane.ask(("FIRST",))
        lane._timeout_s = 0.0
        late = lane.begin(("LATE",))
        lane._check()  # uvloop runs timers before what is ready: after a stall the lane's own task comes second
        assert lane.state == "down"
        assert await late is None
        await until_up(lane)
        lane._timeout_s = 5.0
        assert await lane.ask(("AGAIN",)) == [("AGAIN",)]
    assert link.batches == [1, 1]
