"""A class's state in a real Redis: what one worker learns all know, a restart forgets nothing, an old snapshot
loses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from gateway.cache.semantic import shared_state
from gateway.cache.semantic.events import Event
from gateway.cache.semantic.shared_state import SharedState
from gateway.cache.semantic.snapshot import encode_state
from gateway.clock import SystemClock
from gateway.ports import StoreUnavailable
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.rules import SemanticRules
from tests.unit.gateway.cache.semantic.labels import Traffic

RULES = SemanticRules()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: None)
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    yield store
    await store.close()
    await supervisor.close(1.0)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    traffic = Traffic()
    traffic.ask(300)
    return traffic.events


def name() -> str:
    return f"t:{uuid.uuid4().hex}"


async def test_two_workers_fold_each_others_events_into_the_same_state(store: RedisStore, events: list[Event]) -> None:
    of = name()
    one, other = SharedState(store, of, RULES), SharedState(store, of, RULES)
    for at in range(0, len(events), 40):
        await (one if at % 80 else other).append(events[at : at + 40])
        await one.refresh()
    await other.refresh()
    assert one.state.totals.requests == 300
    assert encode_state(one.state) == encode_state(other.state)


async def test_two_who_fold_at_once_fold_each_event_once(store: RedisStore, events: list[Event]) -> None:
    of = name()
    alone, asked_twice = SharedState(store, of, RULES), SharedState(store, of, RULES)
    await alone.append(events)
    await alone.refresh()
    folded = await asyncio.gather(asked_twice.refresh(), asked_twice.refresh())
    assert sum(folded) == len(events)
    assert encode_state(asked_twice.state) == encode_state(alone.state)


async def test_a_restarted_worker_knows_what_was_known(store: RedisStore, events: list[Event]) -> None:
    of = name()
    before = SharedState(store, of, RULES)
    await before.append(events)
    assert await before.refresh() == len(events)
    after = SharedState(store, of, RULES)
    await after.refresh()
    assert encode_state(after.state) == encode_state(before.state)


async def test_a_late_worker_begins_at_the_snapshot_and_ends_where_the_others_are(
    store: RedisStore, events: list[Event]
) -> None:
    of = name()
    first = SharedState(store, of, RULES)
    for _ in range(2):
        await first.append(events)
        await first.refresh()
    assert 2 * len(events) > shared_state.SNAPSHOT_EVERY
    late = SharedState(store, of, RULES)
    assert await late.refresh() < 2 * len(events)
    assert encode_state(late.state) == encode_state(first.state)


async def test_a_worker_that_the_log_was_trimmed_past_begins_at_the_snapshot(
    store: RedisStore, events: list[Event]
) -> None:
    of = name()
    here, away = SharedState(store, of, RULES), SharedState(store, of, RULES)
    await here.append(events[:10])
    await away.refresh()
    await here.append(events)
    await here.refresh()
    await here.save()
    await store.run(("XTRIM", f"foreword:class:{{{of}}}:log", "MAXLEN", 100))
    await away.refresh()
    assert encode_state(away.state) == encode_state(here.state)


async def test_an_older_snapshot_never_replaces_a_newer_one(store: RedisStore, events: list[Event]) -> None:
    of = name()
    fast, slow = SharedState(store, of, RULES), SharedState(store, of, RULES)
    key = f"foreword:class:{{{of}}}:snapshot"
    await slow.append(events)
    await slow.refresh()
    await fast.append(events)
    await fast.refresh()
    await fast.save()
    (newest,) = await store.run(("GET", key))
    await slow.save()
    assert await store.run(("GET", key)) == [newest]


async def test_events_that_nobody_can_read_are_skipped(store: RedisStore, events: list[Event]) -> None:
    of = name()
    worker = SharedState(store, of, RULES)
    await store.run(("XADD", f"foreword:class:{{{of}}}:log", "*", "d", b"\xc1"))
    await worker.append(events[:5])
    assert await worker.refresh() == 6
    assert worker.state.totals.requests > 0


async def test_nothing_of_a_class_expires(store: RedisStore, events: list[Event]) -> None:
    """Eviction by `volatile-*` policies may take only what has a TTL."""
    of = name()
    worker = SharedState(store, of, RULES)
    await worker.append(events[:5])
    await worker.refresh()
    await worker.save()
    for part in ("log", "snapshot"):
        assert await store.run(("TTL", f"foreword:class:{{{of}}}:{part}")) == [-1]


async def test_without_redis_the_state_stands_and_says_so() -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: None)
    store = RedisStore("redis://127.0.0.1:1", supervisor=supervisor, timeout_s=0.2)
    worker = SharedState(store, name(), RULES)
    with pytest.raises(StoreUnavailable):
        await worker.refresh()
    assert worker.state.mode == "observe"
    await store.close()
    await supervisor.close(1.0)
