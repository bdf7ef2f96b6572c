"""Bodies that come again byte for byte are not read anew: what then must still be looked at, and is."""

from __future__ import annotations

import asyncio
import json

import msgspec

from gateway.cache.recall import MAX_BODIES, MAX_BODY_BYTES
from policies.book import Reloaded
from tests.http.conftest import StartGateway
from tests.http.running import POLICY, Gateway
from tests.http.test_cache import TTLS


def kept(gateway: Gateway) -> int:
    return len(gateway.worker.services.recall)


async def recalled(gateway: Gateway, text: str) -> None:
    """Ask until the body is known: a miss, then a hit."""
    for expected in ("miss", "hit"):
        assert (await gateway.chat(text)).headers["x-foreword-cache"] == expected
    assert kept(gateway) == 1


async def test_a_body_is_kept_once_it_was_a_hit_and_answered_alike_after_that(gateway: Gateway) -> None:
    await gateway.chat("again")
    assert kept(gateway) == 0
    first, second = await gateway.chat("again"), await gateway.chat("again")
    assert kept(gateway) == 1
    assert first.body == second.body
    varying = {"x-request-id", "x-foreword-overhead-ms", "date", "age", "cache-status"}
    told = [{n: v for n, v in answer.headers.items() if n.lower() not in varying} for answer in (first, second)]
    assert told[0] == told[1]
    assert gateway.outcomes[1].cache_key == gateway.outcomes[2].cache_key != ""


async def test_who_asks_counts_for_known_bytes_too(gateway: Gateway) -> None:
    await recalled(gateway, "ours")
    keys = gateway.worker.services.keys
    stranger = await keys.create(gateway.tenant + "-other")
    narrow = await keys.create(gateway.tenant, models=["embed"])
    answer = await gateway.chat("ours", headers={"Authorization": f"Bearer {stranger.secret}"})
    assert answer.headers["x-foreword-cache"] == "miss"
    answer = await gateway.chat("ours", headers={"Authorization": f"Bearer {narrow.secret}"})
    assert answer.json()["error"]["code"] == "model_not_allowed"
    answer = await gateway.chat("ours", headers={"Authorization": "Bearer fw-nobody"})
    assert answer.status == 401


async def test_headers_count_for_known_bytes_too(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=TTLS)
    await recalled(gateway, "ours")
    tagged = await gateway.chat("ours", headers={"x-foreword-tags": "kind=short"})
    assert (tagged.headers["x-foreword-route"], tagged.headers["x-foreword-cache"]) == ("short", "miss")
    fresh = await gateway.chat("ours", headers={"Cache-Control": "no-cache"})
    assert fresh.headers["x-foreword-cache"] == "bypass"
    await gateway.chat("ours", headers={"x-foreword-session": "s-1"})
    assert gateway.outcomes[-1].session == "s-1"
    assert kept(gateway) == 1


async def test_a_namespace_in_the_body_is_never_recalled(gateway: Gateway) -> None:
    for expected in ("miss", "hit", "hit"):
        answer = await gateway.chat("ours", cache={"namespace": "a"})
        assert answer.headers["x-foreword-cache"] == expected
    assert kept(gateway) == 0


async def test_a_new_policy_is_in_force_for_known_bytes_at_once(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=POLICY)
    await recalled(gateway, "ours")
    book = gateway.worker.services.book
    before = gateway.outcomes[-1].policy_version
    await asyncio.to_thread((gateway.worker.services.settings.policies / "default.yaml").write_text, TTLS)
    assert isinstance(await asyncio.to_thread(book.refresh), Reloaded)
    answer = await gateway.chat("ours")
    assert (answer.headers["x-foreword-route"], answer.headers["x-foreword-cache"]) == ("long", "miss")
    assert gateway.outcomes[-1].policy_version != before


async def test_the_same_bytes_at_another_endpoint_are_read_for_it(gateway: Gateway) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": "both"}], "input": "both"}
    for _ in range(2):
        await gateway.post("/v1/chat/completions", body)
    assert kept(gateway) == 1
    answer = await gateway.post("/v1/embeddings", body)
    assert (answer.status, gateway.outcomes[-1].endpoint) == (400, "embeddings")  # "small" is a chat model


async def test_large_bodies_are_not_kept_and_of_many_the_oldest_goes(gateway: Gateway) -> None:
    for _ in range(2):
        await gateway.chat("x" * MAX_BODY_BYTES)
    assert kept(gateway) == 0
    await recalled(gateway, "first")
    recall = gateway.worker.services.recall
    first = recall.find(json.dumps({"model": "small", "messages": [{"role": "user", "content": "first"}]}).encode())
    assert first is not None
    for number in range(MAX_BODIES):
        request = msgspec.structs.replace(first.request, body=b"%d" % number)
        recall.keep(msgspec.structs.replace(first, request=request))
    assert len(recall) == MAX_BODIES
    assert recall.find(first.request.body) is None
    assert recall.find(b"0") is not None
