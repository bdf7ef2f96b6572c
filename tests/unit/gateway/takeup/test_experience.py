"""What an announced request that nobody has asked before is taken to come to, from the tenant's own recent requests."""

from __future__ import annotations

import uuid

from gateway.clock import SystemClock
from gateway.ledger import encode
from gateway.outcome import Outcome
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.takeup.experience import RENEW_S, Expected, Experience
from router.types import Usage
from tests.clock import FakeClock


def outcome(total_s: float, output_tokens: int, **fields: object) -> Outcome:
    usual = {
        "request_id": "r",
        "origin": "user",
        "endpoint": "chat",
        "started_at": 0.0,
        "result": "ok",
        "status": 200,
        "tenant": "t",
        "route": "chat",
        "routed_model": "m",
        "cache": "miss",
        "total_s": total_s,
        "usage": Usage(output_tokens=output_tokens),
    }
    return Outcome(**{**usual, **fields})  # type: ignore[arg-type]


FLEX = Usage(output_tokens=1, service_tier="flex")
SEEN = (
    outcome(1.0, 100, tags=("task=a",)),
    outcome(3.0, 300, tags=("task=a",)),
    outcome(2.0, 500, cache="bypass"),
    outcome(0.1, 900, cache="hit"),
    outcome(9.0, 900, result="error"),
    outcome(9.0, 900, tenant="another"),
    outcome(30.0, 1, origin="warmer", tags=("task=a",), usage=FLEX, cache="bypass"),
    outcome(7.0, 0, endpoint="pipeline", requested_model="pipeline/debate", route="", routed_model=""),
    outcome(40.0, 0, endpoint="pipeline", requested_model="pipeline/debate", origin="warmer"),
)


async def test_means_are_of_the_tenants_own_misses_and_of_the_same_tags_where_there_are_any(redis_url: str) -> None:
    def report_crash(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    supervisor = Supervisor(clock=SystemClock(), on_crash=report_crash)
    store, clock, stream = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0), FakeClock(), uuid.uuid4().hex
    experience = Experience(store, clock, stream=stream)
    await store.append(stream, [b"damaged", *map(encode, SEEN)], max_entries=100)
    await experience.renew()
    same = experience.of_request("t", route="chat", tags=("task=a",), model="m")
    assert same == Expected(output_tokens=200.0, wait_s=2.0, cheap_s=30.0)
    any_tag = experience.of_request("t", route="chat", tags=("task=new",), model="m")
    assert any_tag == Expected(output_tokens=300.0, wait_s=2.0, cheap_s=30.0)
    assert experience.of_request("t", route="chat", tags=(), model="unseen") == Expected()
    assert experience.of_run("t", pipeline_model="pipeline/debate") == Expected(wait_s=7.0, cheap_s=40.0)

    await store.append(stream, [encode(outcome(2.0, 700, routed_model="unseen"))], max_entries=100)
    await experience.renew()
    assert experience.of_request("t", route="chat", tags=(), model="unseen") == Expected()
    clock.wind(RENEW_S)
    await experience.renew()
    assert experience.of_request("t", route="chat", tags=(), model="unseen").output_tokens == 700.0
    await store.close()
    await supervisor.close(2.0)
