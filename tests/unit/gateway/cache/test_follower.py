"""What comes while a caller waits is put where it goes at once, in order, and nobody else is touched by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from gateway.cache.flight import Flight
from gateway.cache.follower import PUT_BYTES, Follower
from router.time_limits import TimeLimits
from router.types import AnswerEvent, Block, Finished
from tests.unit.gateway.cache.test_flight import OPENED, settle
from tests.unit.gateway.cache.test_inflight import END


@dataclass(slots=True, kw_only=True)
class Client:
    """A connection: what was put into it, when it is full, and after how many blocks it is gone."""

    got: list[bytes] = field(default_factory=list)
    full_at: frozenset[int] = frozenset()
    gone_after: int = 1_000

    def put(self, data: bytes) -> bool:
        if len(self.got) == self.gone_after:
            raise ConnectionResetError
        self.got.append(data)
        return len(self.got) in self.full_at


class Provider:
    """A call whose events come when the test says so."""

    def __init__(self) -> None:
        self.flight = Flight("k", limits=TimeLimits(), history_bytes=1 << 20)
        self._said: asyncio.Queue[AnswerEvent] = asyncio.Queue()

    async def run(self) -> None:
        await self.flight.run(self._events(), deadline_s=1_000)

    async def say(self, *events: AnswerEvent) -> None:
        for event in events:
            self._said.put_nowait(event)
            await settle()

    async def _events(self) -> AsyncGenerator[AnswerEvent, None]:
        while True:
            event = await self._said.get()
            yield event
            if isinstance(event, Finished):
                return


async def told(follower: Follower) -> list[bytes]:
    """Return the blocks that the caller itself is given until the end."""
    given = []
    while not isinstance(event := await follower.next(), Finished):
        if isinstance(event, Block):
            given.append(event.data)
    return given


def blocks(*texts: bytes) -> list[Block]:
    return [Block(data=text) for text in texts]


async def test_blocks_after_the_first_are_put_while_the_caller_waits_and_the_rest_it_gets_itself() -> None:
    provider, client = Provider(), Client()
    plain, through = provider.flight.follow(), provider.flight.follow()
    through.put_through(client.put)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(provider.run())
        given, all_of_it = tasks.create_task(told(through)), tasks.create_task(told(plain))
        await provider.say(OPENED, *blocks(b"a", b"b", b"c"), END)
    assert (given.result(), client.got) == ([b"a"], [b"b", b"c"])
    assert all_of_it.result() == [b"a", b"b", b"c"]
    assert through.read_bytes == plain.read_bytes == 3


async def test_a_caller_that_is_busy_is_passed_by_nothing() -> None:
    provider, client = Provider(), Client()
    follower = provider.flight.follow()
    follower.put_through(client.put)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(provider.run())
        await provider.say(OPENED, *blocks(b"a", b"b"))  # it waits for none of them
        given = tasks.create_task(told(follower))
        await settle()
        await provider.say(*blocks(b"c"), END)
    assert (given.result(), client.got) == ([b"ab"], [b"c"])


async def test_a_large_block_is_its_callers_own_to_send() -> None:
    provider, client = Provider(), Client()
    follower, large = provider.flight.follow(), b"x" * PUT_BYTES
    follower.put_through(client.put)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(provider.run())
        given = tasks.create_task(told(follower))
        await provider.say(OPENED, *blocks(b"a", large, b"b"), END)
    assert (given.result(), client.got) == ([b"a", large], [b"b"])


async def test_a_client_that_does_not_keep_up_has_its_caller_wait_with_an_empty_block() -> None:
    provider, client = Provider(), Client(full_at=frozenset({1}))
    follower = provider.flight.follow()
    follower.put_through(client.put)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(provider.run())
        given = tasks.create_task(told(follower))
        await provider.say(OPENED, *blocks(b"a", b"b", b"c"), END)
    assert (given.result(), client.got) == ([b"a", b""], [b"b", b"c"])


async def test_a_client_that_has_gone_is_its_callers_own_matter() -> None:
    provider, client = Provider(), Client(gone_after=1)
    leaving, staying = provider.flight.follow(), provider.flight.follow()
    leaving.put_through(client.put)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(provider.run())
        all_of_it = tasks.create_task(told(staying))
        gone = tasks.create_task(told_until_gone(leaving))
        await provider.say(OPENED, *blocks(b"a", b"b", b"c"), END)
    assert gone.done()
    assert all_of_it.result() == [b"a", b"b", b"c"]


async def told_until_gone(follower: Follower) -> None:
    with pytest.raises(ConnectionResetError):
        await told(follower)
    follower.close()
