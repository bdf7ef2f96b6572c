"""Workers share one rollout over a real Redis: begin, count, revert, restart."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from itertools import count

import pytest

from gateway.outcome import Outcome, Result
from gateway.ports import StoreUnavailable
from gateway.rollout.rollouts import Rollouts
from gateway.rollout.state import SWITCH_S, RolloutState
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.load import load_policy
from policies.model import Policy
from tests.clock import FakeClock

TEXT = """\
version: 1
policy: {name}
routes: [{{name: all, match: {{any: true}}, candidates: [{model}]}}]
rollout: {{salt: s, steps: [50, 100], hold_min: 1, guard: [{{metric: error_rate, worse_by_abs: 0.01, min_n: 100}}]}}
"""
_ids = count()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=FakeClock(), on_crash=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    opened = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    yield opened
    await opened.close()
    await supervisor.close(1.0)


def version(name: str, model: str) -> tuple[Policy, str]:
    """Return a version of a policy and its text."""
    text = TEXT.format(name=name, model=model)
    return load_policy(text, source="f.yaml", groups={"a", "b"}), text


def outcome(policy: Policy, result: Result = "ok") -> Outcome:
    """Return one interaction under `policy`."""
    return Outcome(
        request_id=f"r{next(_ids)}",
        origin="user",
        endpoint="chat",
        started_at=0.0,
        result=result,
        status=200 if result == "ok" else 502,
        policy=policy.name,
        policy_version=policy.version,
        cache="miss",
        total_s=1.0,
    )


class World:
    """Two replicas over one Redis, which see their files change one after the other."""

    def __init__(self, store: RedisStore) -> None:
        self.clock, self.changes = FakeClock(), list[RolloutState]()
        self.name = f"p-{uuid.uuid4().hex[:8]}"
        self.old, self.old_text = version(self.name, "a")
        self.new, self.new_text = version(self.name, "b")
        self.replicas = [self.replica(store), self.replica(store)]

    def replica(self, store: RedisStore) -> Rollouts:
        return Rollouts(store, self.clock, groups={"a", "b"}, on_change=self.changes.append)

    async def begin(self) -> None:
        for replica in self.replicas:
            await replica.loaded([(self.old, self.old_text)], is_change=False)
        for replica in self.replicas:
            await replica.loaded([(self.new, self.new_text)], is_change=True)
        await self.poll()
        self.clock.wind(SWITCH_S)

    async def poll(self) -> None:
        for replica in self.replicas:
            await replica.poll()

    def served(self, replica: Rollouts, file: Policy) -> list[str]:
        return [replica.version_for(file, str(session))[0].version for session in range(200)]


async def test_every_replica_serves_a_session_under_the_same_version_while_files_differ(store: RedisStore) -> None:
    world = World(store)
    await world.begin()
    new, old = world.replicas
    mixed = world.served(new, world.new)
    assert mixed == world.served(old, world.old)
    assert 60 < mixed.count(world.new.version) < 140
    arms = {world.replicas[0].version_for(world.new, str(session))[1] for session in range(200)}
    assert arms == {"", world.new.version}


async def test_a_bad_version_is_reverted_everywhere_and_a_restart_does_not_bring_it_back(store: RedisStore) -> None:
    world = World(store)
    await world.begin()
    for n in range(300):
        for replica in world.replicas:
            replica.record(outcome(world.new, "error" if n % 5 == 0 else "ok"))
            replica.record(outcome(world.old))
    await world.poll()
    await world.poll()
    world.clock.wind(SWITCH_S)
    assert {state.status for replica in world.replicas for state in replica.states} == {"rolled_back"}
    state = world.replicas[0].states[0]
    assert "error_rate 0.2" in state.reason
    assert state.harmed >= 300
    for replica in world.replicas:
        assert set(world.served(replica, world.new)) == {world.old.version}
    restarted = world.replica(store)
    await restarted.loaded([(world.new, world.new_text)], is_change=False)
    assert set(world.served(restarted, world.new)) == {world.old.version}


async def test_a_good_version_takes_over_step_by_step(store: RedisStore) -> None:
    world = World(store)
    await world.begin()
    for _ in range(2):
        for _ in range(200):
            for replica in world.replicas:
                replica.record(outcome(world.new))
                replica.record(outcome(world.old))
        await world.poll()
        world.clock.wind(120.0)
        await world.poll()
        world.clock.wind(SWITCH_S)
    assert {(state.status, state.stable) for replica in world.replicas for state in replica.states} == {
        ("done", world.new.version)
    }
    assert set(world.served(world.replicas[1], world.new)) == {world.new.version}


async def test_without_redis_a_new_file_serves_everybody(store: RedisStore) -> None:
    class Away:
        async def run(self, *commands: object) -> list[object]:
            raise StoreUnavailable("away")

    world = World(store)
    alone = Rollouts(Away(), world.clock, groups={"a", "b"}, on_change=world.changes.append)
    await alone.loaded([(world.new, world.new_text)], is_change=False)
    assert set(world.served(alone, world.new)) == {world.new.version}
