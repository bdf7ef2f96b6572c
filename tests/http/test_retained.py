"""Requests kept beside their answers for the warmer: which, for how long, within which bound, and how they go."""

from __future__ import annotations

import pytest

from gateway.cache.withdraw import Selection
from gateway.clock import SystemClock
from gateway.retained.kept import PREFIX, Kept, decode, due_key, kept_key, sizes_key, split_key
from gateway.semantic.admin import withdraw
from gateway.stores.redis import RedisStore
from tests.http.conftest import StartGateway
from tests.http.debating import debate, script
from tests.http.running import Gateway

POLICY = """
version: 1
policy: default
warming: {limit_usd_day: 1.0}
routes:
  - {name: unkept, match: {tag: "text=off"}, candidates: [requested], cache: {exact_ttl: 1h, retain_text: false}}
  - {name: task, match: {tag: "task=*"}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: null}}
  - {name: chat, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h}}
"""
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


def store_of(gateway: Gateway) -> RedisStore:
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    return store


async def kept_of(gateway: Gateway) -> dict[str, Kept]:
    store = store_of(gateway)
    found: dict[str, Kept] = {}
    async for name in store.scan(f"{PREFIX}{gateway.tenant}}}:"):
        kept = decode(await store.get(name))
        assert kept is not None
        found[split_key(name)[1]] = kept
    return found


async def test_a_request_is_kept_with_all_that_asking_it_again_takes(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY)
    headers = {"x_foreword_tags": "task=topics,show=weekly", "x_foreword_session": "s1"}
    await gateway.chat("Why are trams quieter than buses?", headers=headers, temperature=1.0)
    [(key, kept)] = (await kept_of(gateway)).items()
    [outcome] = gateway.outcomes
    assert key == outcome.cache_key
    assert b"quieter than buses" in kept.body
    assert (kept.kind, kept.dialect, kept.tenant, kept.session) == ("chat", "chat", gateway.tenant, "s1")
    assert (kept.key_id, kept.tags, kept.route) == (outcome.key_id, ("show=weekly", "task=topics"), "task")
    [part] = kept.parts
    assert (part.key, part.model, part.usage.output_tokens > 0) == (key, "small", True)
    assert outcome.ttl_s == kept.ttl_s == 3600.0
    left_ms, answer_ms = await store_of(gateway).run(
        ("PTTL", kept_key(key, tenant=gateway.tenant)), ("PTTL", f"foreword:cache:{{{gateway.tenant}}}:{key}")
    )
    assert isinstance(left_ms, int)
    assert isinstance(answer_ms, int)
    assert abs(left_ms - answer_ms) < 1000


@pytest.mark.parametrize(
    ("text", "fields", "headers"),
    [
        ("Which trams run now?", {}, {}),
        ("What did my order cost me, please?", {}, {}),
        ("Why are trams quiet?", {"tools": [TOOL]}, {}),
        ("Why are trams quiet?", {"temperature": 1.0}, {}),
        ("Why are trams quiet?", {}, {"cache_control": "no-store"}),
        ("Why are trams quiet?", {}, {"x_foreword_tags": "text=off"}),
    ],
)
async def test_what_may_not_be_asked_again_is_not_kept(
    start_gateway: StartGateway, text: str, fields: dict[str, object], headers: dict[str, str]
) -> None:
    gateway = await start_gateway(policy=POLICY)
    assert (await gateway.chat(text, headers=headers, **fields)).status == 200
    assert await kept_of(gateway) == {}
    await gateway.chat("Why are trams quiet, then?")
    assert len(await kept_of(gateway)) == 1  # the same gateway does keep others


async def test_nothing_is_kept_where_warming_is_off(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY.replace("warming: {limit_usd_day: 1.0}", "warming: off"))
    await gateway.chat("Why are trams quiet?")
    assert await kept_of(gateway) == {}


async def test_a_tenants_requests_stay_within_their_bytes_and_the_oldest_go_first(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY, retained_bytes="8KiB")
    for number in range(12):
        await gateway.chat(f"Why are trams number {number} quiet? " + "so " * 200)
    kept = await kept_of(gateway)
    asked = [number for number in range(12) if any(b"number %d quiet" % number in one.body for one in kept.values())]
    assert 0 < len(asked) < 12
    assert asked == list(range(12 - len(asked), 12))
    (held,) = await store_of(gateway).run(("HGET", sizes_key(gateway.tenant), ""))
    assert isinstance(held, bytes)
    assert sum(len(one.body) for one in kept.values()) < int(held) <= 8192
    (members,) = await store_of(gateway).run(("ZCARD", due_key(gateway.tenant)))
    assert members == len(asked)


async def test_a_request_larger_than_its_share_is_not_kept(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY, retained_bytes="8KiB")
    await gateway.chat("Why are trams quiet? " + "so " * 400)
    assert await kept_of(gateway) == {}


async def test_a_withdrawn_answer_takes_its_request_along_and_an_erased_tenant_leaves_nothing(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(policy=POLICY)
    await gateway.chat("Why are trams quiet?")
    await gateway.chat("Why are buses loud?")
    first, second = (outcome.cache_key for outcome in gateway.outcomes)
    store, clock = store_of(gateway), SystemClock()
    await withdraw(store, Selection(id=first), by="test", is_dry_run=False, clock=clock)
    assert set(await kept_of(gateway)) == {second}
    await withdraw(store, Selection(tenant=gateway.tenant), by="test", is_dry_run=False, clock=clock)
    assert await kept_of(gateway) == {}
    left = await store.run(("EXISTS", due_key(gateway.tenant)), ("EXISTS", sizes_key(gateway.tenant)))
    assert left == [0, 0]


async def test_a_run_is_kept_as_it_was_posted_and_goes_with_any_of_its_answers(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY)
    script(gateway)
    await debate(gateway)
    run = next(outcome for outcome in gateway.outcomes if outcome.endpoint == "pipeline")
    steps = {outcome.cache_key for outcome in gateway.outcomes if outcome.origin == "pipeline"}
    [(key, kept)] = (await kept_of(gateway)).items()
    assert key == run.cache_key
    assert (kept.kind, kept.pipeline, b"you are a fool" in kept.body) == ("run", "debate", True)
    assert {part.key for part in kept.parts} == steps
    assert run.ttl_s == kept.ttl_s == 3600.0
    again = await debate(gateway)
    assert again.status == 200
    rerun = [outcome for outcome in gateway.outcomes if outcome.endpoint == "pipeline"][1]
    assert (rerun.cache_key, rerun.cache) == (key, "hit")
    await withdraw(store_of(gateway), Selection(id=min(steps)), by="test", is_dry_run=False, clock=SystemClock())
    assert await kept_of(gateway) == {}
