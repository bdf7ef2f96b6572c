"""Learning from judged answers: over both shipped stores, by two workers, with the store away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from gateway.clock import SystemClock
from gateway.knowledge.knowledge import MAX_LABELS, PLACES, REBUILD_S, SETTLE_S, STREAM, Knowledge, place_of
from gateway.knowledge.labels import Label, encode, label_of
from gateway.outcome import Outcome
from gateway.ports import StoreUnavailable
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.evidence import Labels
from policies.model import CacheRules, Match, RequestFacts, Route, RouteClass
from policies.rules import KnnRules, QualityRules
from router.types import AttemptRecord
from tests.clock import FakeClock

ROUTE = Route(
    name="floor",
    match=Match(),
    candidates=("small", "large"),
    selector="quality_floor",
    fallbacks=(),
    deadline_s=60.0,
    max_output_tokens=None,
    cache=CacheRules(),
    quality=QualityRules(floor=0.9),
    knn=KnnRules(),
)


def route_class(task: str = "t") -> RouteClass:
    facts = RequestFacts(
        dialect="chat",
        requested_model="small",
        tenant="bot",
        session="",
        tags=frozenset({f"task={task}"}),
        input_tokens=10,
        max_output_tokens=None,
        needs=frozenset(),
        allowed_models=None,
    )
    return RouteClass(policy="p", policy_version="1", route=ROUTE, facts=facts, aliases={})


def outcome(request_id: str, **changes: object) -> Outcome:
    attempt = AttemptRecord(
        deployment_id="d", group="small", provider="x", model="m", reason="first", started_s=0, ended_s=1, result="ok"
    )
    fields: dict[str, object] = {
        "request_id": request_id,
        "origin": "user",
        "endpoint": "chat",
        "started_at": 1.0,
        "result": "ok",
        "status": 200,
        "tenant": "bot",
        "policy": "p",
        "route": "floor",
        "tags": ("task=t",),
        "routed_model": "small",
        "attempts": (attempt,),
        "arm": "learned",
        **changes,
    }
    return Outcome(**fields)  # type: ignore[arg-type]


class AwayStore(MemoryStore):
    """The shipped memory store, whose stream can be away."""

    is_away = False

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        await super().append(stream, entries, max_entries=max_entries)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> AwayStore:
    return AwayStore(clock, max_bytes=1 << 26)


def known(knowledge: Knowledge, task: str = "t") -> dict[str, Labels]:
    return dict(knowledge.evidence(route_class(task), request_id="q", vector=None).task)


def rounded(knowledge: Knowledge) -> dict[str, Labels]:
    """What is known, without the moment that has passed since."""
    return {group: Labels(round(found.n, 2), round(found.total, 2)) for group, found in known(knowledge).items()}


async def after(knowledge: Knowledge, clock: FakeClock) -> None:
    clock.wind(REBUILD_S)
    await knowledge.poll()


async def test_what_one_worker_is_told_every_worker_learns(clock: FakeClock, store: AwayStore) -> None:
    here, there = Knowledge(store, clock, space="e"), Knowledge(store, clock, space="e")
    here.record(outcome("r1"))
    verdict, decision = await there.feedback("bot", "r1", 0.25)
    assert verdict == "learnt"
    assert decision is not None
    assert (decision.group, decision.arm) == ("small", "learned")
    await there.poll()
    await after(here, clock)
    assert rounded(here) == {"small": Labels(1.0, 0.25)}
    await after(there, clock)
    assert here.snapshot.version == there.snapshot.version


async def test_feedback_finds_no_other_tenants_answer_and_none_that_is_gone(clock: FakeClock, store: AwayStore) -> None:
    knowledge = Knowledge(store, clock, space="e")
    knowledge.record(outcome("r1"))
    assert (await knowledge.feedback("other", "r1", 1.0))[0] == "unknown"
    assert (await knowledge.feedback("bot", "r2", 1.0))[0] == "unknown"
    clock.wind(86_401)
    assert (await knowledge.feedback("bot", "r1", 1.0))[0] == "unknown"


async def test_decisions_take_a_bounded_number_of_places(clock: FakeClock, store: AwayStore) -> None:
    assert len({place_of("bot", f"r{at}") for at in range(1000)}) > 980
    assert all(int(place_of("bot", f"r{at}").rpartition(":")[2]) < PLACES for at in range(100))
    first = next(f"r{at}" for at in range(10**7) if place_of("bot", f"r{at}") == place_of("bot", "again"))
    knowledge = Knowledge(store, clock, space="e")
    knowledge.record(outcome(first))
    knowledge.record(outcome("again"))
    assert (await knowledge.feedback("bot", first, 1.0))[0] == "unknown"
    assert (await knowledge.feedback("bot", "again", 1.0))[0] == "learnt"


@pytest.mark.parametrize("changes", [{"arm": ""}, {"result": "error"}, {"result": "cancelled"}, {"routed_model": ""}])
async def test_only_answers_that_a_floor_chose_are_remembered(
    clock: FakeClock, store: AwayStore, changes: dict[str, object]
) -> None:
    knowledge = Knowledge(store, clock, space="e")
    knowledge.record(outcome("r1", **changes))
    assert (await knowledge.feedback("bot", "r1", 1.0))[0] == "unknown"


async def test_who_stood_in_for_the_choice_is_not_the_arms_doing(clock: FakeClock, store: AwayStore) -> None:
    knowledge = Knowledge(store, clock, space="e")
    knowledge.record(outcome("r1", routed_model="large"))
    decision = knowledge.judged("r1", 1.0, source="judge")
    assert decision is not None
    assert (decision.group, decision.arm) == ("large", "fixed")
    assert knowledge.judged("r2", 1.0, source="judge") is None


async def test_a_step_that_needed_a_repair_missed_its_schema_and_another_one_met_it(
    clock: FakeClock, store: AwayStore
) -> None:
    knowledge = Knowledge(store, clock, space="e")
    for request_id in ("run.fallacy", "run.analysis", "run.fallacy.repair"):
        knowledge.record(outcome(request_id, endpoint="pipeline-step", tags=(f"task={request_id.split('.')[1]}",)))
    clock.wind(SETTLE_S)
    assert (await knowledge.poll()).by_source == {"schema": 2}
    await after(knowledge, clock)
    assert round(known(knowledge, "fallacy")["small"].total) == 0
    assert round(known(knowledge, "analysis")["small"].total) == 1


async def test_the_questions_vector_goes_with_its_label(clock: FakeClock, store: AwayStore) -> None:
    knowledge = Knowledge(store, clock, space="e")
    vector = np.eye(384, dtype=np.float32)[5]
    for at in range(12):
        knowledge.evidence(route_class(), request_id=f"r{at}", vector=vector)
        knowledge.record(outcome(f"r{at}"))
        assert (await knowledge.feedback("bot", f"r{at}", 1.0))[0] == "learnt"
    await knowledge.poll()
    await after(knowledge, clock)
    near = knowledge.evidence(route_class(), request_id="q", vector=vector).near
    assert near is not None
    assert round(near["small"].n) == 12
    assert knowledge.evidence(route_class(), request_id="q", vector=np.eye(384, dtype=np.float32)[6]).near == {}


async def test_labels_wait_while_the_store_is_away(clock: FakeClock, store: AwayStore) -> None:
    knowledge = Knowledge(store, clock, space="e")
    knowledge.record(outcome("r1"))
    knowledge.judged("r1", 1.0, source="judge")
    store.is_away = True
    assert (await knowledge.poll()).by_source == {"judge": 1}
    store.is_away = False
    await after(knowledge, clock)
    assert round(known(knowledge)["small"].n) == 1


async def test_no_more_labels_are_kept_than_asked_for(clock: FakeClock, store: AwayStore) -> None:
    knowledge = Knowledge(store, clock, space="e", max_labels=50)
    for at in range(80):
        knowledge.record(outcome(f"r{at}"))
        knowledge.judged(f"r{at}", float(at >= 30), source="judge")
    await after(knowledge, clock)
    assert knowledge.snapshot.labels == 50
    assert round(known(knowledge)["small"].total) == 50
    assert MAX_LABELS == 20_000


async def test_a_label_of_another_release_is_skipped(clock: FakeClock, store: AwayStore) -> None:
    good = Label(clock.now(), 1.0, "judge", "bot/r", "p", "t", "small", "fixed", "", b"")
    await store.append(STREAM, [b"\xc1", encode(good)], max_entries=10)
    assert label_of(b"\xc1") is None
    knowledge = Knowledge(store, clock, space="e")
    await after(knowledge, clock)
    assert knowledge.snapshot.labels == 1


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda name, error: None)
    store = RedisStore(redis_url, supervisor=supervisor, timeout_s=2.0)
    yield store
    await store.close()
    await supervisor.close(1.0)


async def test_a_real_redis_keeps_labels_and_decisions(redis: RedisStore, clock: FakeClock) -> None:
    here, there = Knowledge(redis, clock, space="e"), Knowledge(redis, clock, space="e")
    await redis.delete([STREAM])
    here.record(outcome("redis-1"))
    assert (await there.feedback("bot", "redis-1", 1.0))[0] == "learnt"
    assert (await here.feedback("bot", "redis-1", 0.0))[0] == "given"
    await there.poll()
    await after(here, clock)
    assert rounded(here) == {"small": Labels(1.0, 1.0)}
