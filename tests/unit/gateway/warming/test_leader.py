"""The lead among several warmers on a real Redis: one at a time, lost with the lease, a fence for what is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.waiting import Command
from gateway.warming.leader import Leadership, NotLeader
from gateway.warming.notes import RedisBookmark, RedisNotes
from tests.clock import FakeClock
from warmer.ports import HistoryUnavailable
from warmer.types import START, Mark, Position


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    made = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    yield made
    await made.close()
    await supervisor.close(1.0)


@pytest.fixture
def key() -> str:
    return f"test:{{{uuid4().hex}}}:leader"


def claim(store: RedisStore, key: str, *, clock: FakeClock | None = None, name: bytes = b"a") -> Leadership:
    return Leadership(store, clock or FakeClock(), token=name, key=key, lease_s=60.0)


async def test_of_two_warmers_one_leads_and_the_other_follows_once_it_lets_go(store: RedisStore, key: str) -> None:
    first, second = claim(store, key, name=b"a"), claim(store, key, name=b"b")
    assert [await first.renew(), await second.renew(), await first.renew()] == [True, False, True]
    assert (first.is_held, second.is_held, first.reign, second.reign) == (True, False, 1, 0)
    await claim(store, key, name=b"c").release()  # it is not its own to give up
    assert await first.renew()
    await first.release()
    assert [first.is_held, await second.renew(), await first.renew()] == [False, True, False]
    assert second.reign == 1


async def test_who_gave_the_lead_up_does_not_take_it_again_while_it_ends(store: RedisStore, key: str) -> None:
    first, second = claim(store, key, name=b"a"), claim(store, key, name=b"b")
    assert await first.renew()
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(first.renew())
        group.create_task(first.release())
    assert not renewing.result()
    assert [await first.renew(), first.is_held, await second.renew()] == [False, False, True]


async def test_a_dead_leaders_lease_ends_by_itself(store: RedisStore, key: str) -> None:
    dead = Leadership(store, FakeClock(), token=b"a", key=key, lease_s=0.05)
    heir = claim(store, key, name=b"b")
    assert await dead.renew()
    while not await heir.renew():
        await SystemClock().sleep(0.01)
    assert heir.is_held


async def test_the_lead_is_lost_here_before_it_is_lost_in_redis(store: RedisStore, key: str) -> None:
    clock = FakeClock()
    leader = claim(store, key, clock=clock)
    await leader.renew()
    clock.wind(47.0)
    held = [leader.is_held]
    clock.wind(2.0)
    held.append(leader.is_held)
    assert held == [True, False]
    (left_ms,) = await store.run(("PTTL", key))
    assert isinstance(left_ms, int)
    assert left_ms > 0
    assert await leader.renew()
    assert leader.reign == 1  # nobody had it meanwhile: it goes on as it was


async def test_a_paused_leader_cannot_write_once_another_leads(store: RedisStore, key: str) -> None:
    paused, heir = claim(store, key, name=b"a"), claim(store, key, name=b"b")
    await paused.renew()
    notes, theirs = RedisNotes(store, paused, key=f"{key}:n"), RedisNotes(store, heir, key=f"{key}:n")
    await notes.save("learnt", b"1")
    await store.delete([key])  # its lease has ended while it stood still
    await heir.renew()
    await theirs.save("learnt", b"2")
    with pytest.raises(HistoryUnavailable):
        await notes.save("learnt", b"3")
    assert not paused.is_held
    assert await notes.load("learnt") == b"2"
    with pytest.raises(NotLeader):
        await paused.write(f"{key}:n", "learnt", b"4")


async def test_a_bookmark_survives_and_a_damaged_one_counts_as_none(store: RedisStore, key: str) -> None:
    leader = claim(store, key)
    await leader.renew()
    bookmark = RedisBookmark(RedisNotes(store, leader, key=f"{key}:n"))
    assert await bookmark.load() is None
    mark = Mark(window_after=START, counted=Position(ms=12, sequence=3))
    await bookmark.save(mark)
    assert await bookmark.load() == mark
    await store.hash_set(f"{key}:n", "mark", b"{")
    assert await bookmark.load() is None


async def test_without_redis_nobody_comes_to_lead_and_nothing_is_noted() -> None:
    class Away:
        async def run(self, *_commands: Command) -> list[object]:
            raise StoreUnavailable("away")

        async def hash_get(self, _key: str, _field: str) -> bytes | None:
            raise StoreUnavailable("away")

    leader = Leadership(Away(), FakeClock(), token=b"a")
    assert not await leader.renew()
    await leader.release()
    notes = RedisNotes(Away(), leader)
    with pytest.raises(HistoryUnavailable):
        await notes.save("a", b"")
    with pytest.raises(HistoryUnavailable):
        await notes.load("a")
