"""The ledger as the warmer reads it: what is demand, with the texts of kept requests; and the day's sums."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import orjson
import pytest

from gateway.clock import SystemClock
from gateway.ledger import encode
from gateway.outcome import Outcome
from gateway.part import Part
from gateway.ports import StoreUnavailable
from gateway.retained.kept import Kept, kept_key
from gateway.retained.kept import encode as encode_kept
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.waiting import Command
from gateway.warming.day import HOUR_S, DaySpend, dump, load
from gateway.warming.history import LedgerHistory, event_of
from gateway.warming.texts import Texts
from router.types import Usage
from warmer.ports import HistoryUnavailable
from warmer.types import START, Position

TALK = "Transcript:\n" + "ANN: Trams are quiet, I say.\nBOB: And I say that they are loud.\nBOB: Yes.\n" * 12


def an_outcome(**changes: object) -> Outcome:
    fields: dict[str, object] = {
        "request_id": "r",
        "origin": "user",
        "endpoint": "chat",
        "started_at": 5.0,
        "result": "ok",
        "status": 200,
        "tenant": "acme",
        "cache": "miss",
        "cache_key": "k1",
        "cost_nanousd": 7,
        "total_s": 0.5,
        "ttl_s": 60.0,
        **changes,
    }
    return Outcome(**fields)  # type: ignore[arg-type]


def a_kept(body: object, **changes: object) -> Kept:
    fields: dict[str, object] = {
        "kind": "chat",
        "body": orjson.dumps(body),
        "dialect": "chat",
        "tenant": "acme",
        "key_id": "key-1",
        "allowed_models": None,
        "session": "",
        "tags": (),
        "namespace": "",
        "parts": (Part(key="k1", model="small", usage=Usage()),),
        "wait_s": 1.0,
        "ttl_s": 60.0,
        "cost_nanousd": 9,
        **changes,
    }
    return Kept(**fields)  # type: ignore[arg-type]


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    made = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    yield made
    await made.close()
    await supervisor.close(1.0)


def test_an_event_says_what_was_wanted_how_long_it_is_good_and_what_a_hit_would_save() -> None:
    missed = event_of(an_outcome())
    hit = event_of(an_outcome(cache="hit", cost_nanousd=0, saved_nanousd=9, age_s=3.0, warmed_by="schedule"))
    assert missed is not None
    assert hit is not None
    assert (missed.at_s, missed.tenant, missed.key, missed.was_hit, missed.cost_nanousd, missed.ttl_s) == (
        *(5.0, "acme", "k1", False, 7),
        60.0,
    )
    assert (hit.was_hit, hit.cost_nanousd, hit.age_s, hit.warmed_by) == (True, 9, 3.0, "schedule")
    joined = event_of(an_outcome(cache="joined"))
    assert joined is not None
    assert joined.was_hit


def test_of_a_pipeline_the_run_is_wanted_and_not_its_steps() -> None:
    run = event_of(an_outcome(endpoint="pipeline", requested_model="pipeline/debate", interaction_cost_nanousd=50))
    assert run is not None
    assert (run.kind, run.model, run.cost_nanousd) == ("run", "pipeline/debate", 50)
    assert event_of(an_outcome(endpoint="pipeline-step", origin="pipeline")) is None


@pytest.mark.parametrize(
    "changes", [{"origin": "warmer"}, {"origin": "shadow"}, {"result": "error"}, {"cache_key": ""}]
)
def test_what_is_no_demand_is_no_event(changes: dict[str, object]) -> None:
    assert event_of(an_outcome(**changes)) is None


async def test_kept_requests_lend_their_words_and_a_damaged_entry_is_passed_over(store: RedisStore) -> None:
    stream, tenant = f"test-warm-{uuid4().hex}", f"t-{uuid4().hex[:8]}"
    chat = {"model": "small", "messages": [{"role": "user", "content": TALK + "\nQuestion: Who is louder?"}]}
    await store.put(kept_key("k1", tenant=tenant), encode_kept(a_kept(chat, tenant=tenant)), ttl_s=60)
    run = a_kept(
        {"transcript": TALK.partition("\n")[2]}, kind="run", tenant=tenant, transcript="digest", cost_nanousd=70
    )
    await store.put(kept_key("k2", tenant=tenant), encode_kept(run), ttl_s=60)
    hit_run = an_outcome(tenant=tenant, cache_key="k2", endpoint="pipeline", cache="hit", cost_nanousd=0)
    outcomes = [an_outcome(tenant=tenant), hit_run, an_outcome(tenant=tenant, cache_key="k3")]
    entries = [b'{"v":999,', *(encode(one) for one in outcomes), b"no json"]
    await store.append(stream, entries, max_entries=100)
    watched: list[str] = []
    texts = Texts(store, is_wanted=lambda name: name == tenant)
    history = LedgerHistory(store, texts, watch=lambda _at, outcome: watched.append(outcome.cache_key), stream=stream)
    found = [entry.event for entry in await history.read(after=START, limit=10)]
    assert [event.key if event else None for event in found] == [None, "k1", "k2", "k3", None]
    asked, ran, unkept = (event for event in found if event is not None)
    assert (asked.question, asked.speakers, len(asked.attachment)) == ("Who is louder?", ("BOB", "ANN"), 64)
    assert (ran.attachment, ran.speakers, ran.cost_nanousd) == ("digest", ("BOB", "ANN"), 70)
    assert (unkept.question, unkept.speakers) == ("", ())
    assert watched == ["k1", "k2", "k3"]
    texts.forget(tenant)
    await store.delete([kept_key("k1", tenant=tenant)])
    again = [entry.event for entry in await history.read(after=START, limit=2)][1]
    assert again == replace(asked, question="", speakers=(), attachment="")


async def test_nothing_is_looked_up_for_a_tenant_without_warming(store: RedisStore) -> None:
    tenant = f"t-{uuid4().hex[:8]}"
    await store.put(kept_key("k1", tenant=tenant), encode_kept(a_kept({}, tenant=tenant)), ttl_s=60)
    asked: list[Command] = []

    class Counting:
        async def run(self, *commands: Command) -> list[object]:
            asked.extend(commands)
            return await store.run(*commands)

    assert await Texts(Counting(), is_wanted=lambda _tenant: False).of([(tenant, "k1")]) == {}
    assert asked == []
    texts = Texts(Counting(), is_wanted=lambda _tenant: True)
    assert await texts.of([(tenant, "k1"), (tenant, "k1")]) == await texts.of([(tenant, "k1")])
    assert len(asked) == 1


async def test_a_redis_that_is_away_is_the_history_being_unavailable() -> None:
    class Away:
        async def read(self, _stream: str, *, after: str, limit: int) -> list[tuple[str, bytes]]:
            raise StoreUnavailable(f"{after} {limit}")

        async def run(self, *_commands: Command) -> list[object]:
            raise StoreUnavailable

    history = LedgerHistory(Away(), Texts(Away(), is_wanted=lambda _: True), watch=lambda _at, _outcome: None)
    with pytest.raises(HistoryUnavailable):
        await history.read(after=START, limit=1)


def test_the_days_spend_counts_every_entry_once_and_no_warm() -> None:
    day = DaySpend()
    paid = an_outcome(started_at=100 * HOUR_S, cost_nanousd=40)
    for number, outcome in enumerate([paid, an_outcome(origin="warmer", started_at=100 * HOUR_S), paid]):
        day.watch(Position(ms=number + 1, sequence=0), outcome)
    day.watch(Position(ms=2, sequence=0), paid)  # read again after a restart
    assert day.of("acme", 100 * HOUR_S + 1) == 80
    assert day.of("acme", 123 * HOUR_S) == 80
    assert day.of("acme", 124 * HOUR_S) == 0
    assert day.of("other", 100 * HOUR_S) == 0
    assert load(dump(day)) == day
    assert load(b"damaged") == DaySpend()
    assert load(None) == DaySpend()
