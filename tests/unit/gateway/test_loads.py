"""What a process has in flight reaches the others through Redis, and goes with the process."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.budgets.away import NoRedis
from gateway.clock import SystemClock
from gateway.loads import Load, Loads
from gateway.ports import StoreUnavailable
from gateway.redis_replies import integer
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from policies.book import PolicySet
from policies.load import load_policy
from router.attempts import Limits
from router.traffic import Traffic
from router.types import Deployment

DEPLOYMENT = Deployment(
    id="d", group="small", provider="openai", model="m", backend="openai_wire", api_base="", secret="", price=None
)
ROUTES = "routes: [{name: all, match: {any: true}, candidates: [requested]}]\n"
ON = f"version: 1\npolicy: p\nwarming: {{limit_usd_day: 1}}\n{ROUTES}"
OFF = f"version: 1\npolicy: p\n{ROUTES}"


def policies(text: str) -> Callable[[], PolicySet]:
    found = PolicySet(policies=(load_policy(text, source="p.yaml", groups=None),), version="v")
    return lambda: found


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, error: pytest.fail(str(error)))
    store = RedisStore(redis_url, supervisor=supervisor)
    yield store
    await store.close()
    await supervisor.close(5.0)


@pytest.fixture
def key() -> str:
    return f"loads-{uuid.uuid4().hex}"


async def test_what_one_has_in_flight_the_others_hear_and_itself_never(store: RedisStore, key: str) -> None:
    traffic = Traffic(Limits())
    here = Loads(store, traffic, [DEPLOYMENT], policies=policies(ON), key=key)
    there = Loads(store, Traffic(Limits()), [DEPLOYMENT], policies=policies(ON), key=key)
    assert traffic.places.take("d")
    await here.tell()
    await there.tell()
    told = Load(deployment_id="d", in_flight=1, waiting=0, limit=256, is_learnt=False)
    assert (await here.heard(), await there.heard()) == ((), (told,))
    traffic.places.refused("d", started_s=0.0, now_s=1.0)
    await here.tell()
    [learnt] = await there.heard()
    assert (learnt.is_learnt, learnt.limit) == (True, 2)


async def test_that_there_is_nothing_any_more_is_told_once_and_nothing_before(store: RedisStore, key: str) -> None:
    traffic = Traffic(Limits())
    here = Loads(store, traffic, [DEPLOYMENT], policies=policies(ON), key=key)
    there = Loads(store, Traffic(Limits()), [DEPLOYMENT], policies=policies(ON), key=key)
    await here.tell()
    assert await store.run(("EXISTS", key)) == [0]
    assert traffic.places.take("d")
    await here.tell()
    traffic.places.release("d")
    await here.tell()
    assert await there.heard() == ()
    await store.delete([key])
    await here.tell()
    assert await store.run(("EXISTS", key)) == [0]


async def test_who_has_ended_or_speaks_otherwise_is_forgotten(store: RedisStore, key: str) -> None:
    there = Loads(store, Traffic(Limits()), [DEPLOYMENT], policies=policies(ON), key=key)
    [now] = await store.run(("EVAL", "return tonumber(redis.call('TIME')[1])", 1, key))
    lately = integer(now)
    long_ago = lately - 60
    told = '[{"deployment_id":"d","in_flight":1,"waiting":0,"limit":9,"is_learnt":false}]'
    fields = ("gone", f"{long_ago} {told}", "other", f"{lately} {{}}", "there", f"{lately} {told}")
    await store.run(("HSET", key, *fields))
    assert [load.in_flight for load in await there.heard()] == [1]
    assert await store.run(("HLEN", key)) == [2]


async def test_nothing_is_told_where_no_policy_warms(store: RedisStore, key: str) -> None:
    traffic = Traffic(Limits())
    assert traffic.places.take("d")
    await Loads(store, traffic, [DEPLOYMENT], policies=policies(OFF), key=key).tell()
    assert await store.run(("EXISTS", key)) == [0]


async def test_without_redis_telling_is_in_vain_and_hearing_says_so() -> None:
    traffic = Traffic(Limits())
    assert traffic.places.take("d")
    alone = Loads(NoRedis(), traffic, [DEPLOYMENT], policies=policies(ON))
    await alone.tell()
    with pytest.raises(StoreUnavailable):
        await alone.heard()
