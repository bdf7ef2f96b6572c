"""The exact tier through a whole gateway: what is told again and how, what is never kept, who may read it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.stores.embedded import EmbeddedRedis
from tests.http.conftest import StartGateway
from tests.http.folding import Json, folded, until_shared
from tests.http.running import Gateway
from tests.provider import Reply

USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
TOOL = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
WITH_USAGE = {"include_usage": True}

TTLS = """
version: 1
policy: default
routes:
  - {name: short, match: {tag: "kind=short"}, candidates: [requested], cache: {exact_ttl: 30m}}
  - {name: unkept, match: {tag: "kind=off"}, candidates: [requested], cache: {exact_ttl: 0s}}
  - {name: long, match: {any: true}, candidates: [requested], cache: {exact_ttl: 2h}}
"""


async def ask(gateway: Gateway, kind: str, *, stream: bool) -> Json:
    """Ask for one kind of answer and return what a client makes of it, with the cache's word."""
    fields: dict[str, Json] = {
        "text": {},
        "tools": {"tools": TOOL},
        "reasoning": {},
        "several": {"n": 2, "logprobs": True},
    }
    options: Json = {"stream": True, "stream_options": WITH_USAGE} if stream else {}
    answer = await gateway.chat(kind, **fields[kind], **options)
    said = folded(answer)
    return {"choices": said.choices, "usage": said.usage, "model": said.model, "id": said.id}


def reply_for(kind: str, *, stream: bool) -> Reply:
    if kind == "tools":
        return Reply(tool_arguments='{"city": "Oslo", "days": [1, 2]}', finish_reason="tool_calls")
    if kind == "reasoning":
        return _reasoning(stream=stream)
    return Reply()


def _reasoning(*, stream: bool) -> Reply:
    """DeepSeek's shape: the thinking travels beside the text."""
    frame = {"id": "chatcmpl-1", "created": 1700000000, "model": "up-small"}
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 3}}
    if not stream:
        message = {"role": "assistant", "content": "Six.", "reasoning_content": "2 × 3 is 6"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return Reply(body=json.dumps({**frame, "object": "chat.completion", "choices": [choice], "usage": usage}))
    deltas = [{"role": "assistant", "reasoning_content": "2 × 3"}, {"reasoning_content": " is 6"}, {"content": "Six."}]
    choices: list[list[Json]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices += [[{"index": 0, "delta": {}, "finish_reason": "stop"}], []]
    chunks = [{**frame, "object": "chat.completion.chunk", "choices": choice, "usage": None} for choice in choices]
    chunks[-1]["usage"] = usage
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return Reply(body=body, headers={"Content-Type": "text/event-stream"})


@pytest.mark.parametrize("second", ["streamed", "whole"])
@pytest.mark.parametrize("first", ["streamed", "whole"])
async def test_a_repeated_answer_is_equal_whichever_way_it_was_first_made(
    gateway: Gateway, first: str, second: str
) -> None:
    kinds = ("text", "tools", "reasoning", "several")
    for kind in kinds:
        gateway.provider.script("up-small", reply_for(kind, stream=first == "streamed"))
        told = await ask(gateway, kind, stream=first == "streamed")
        assert await ask(gateway, kind, stream=second == "streamed") == told
    assert len(gateway.provider.requests) == len(kinds)
    assert [outcome.cache for outcome in gateway.outcomes] == ["miss", "hit"] * len(kinds)
    assert {outcome.usage.output_tokens for outcome in gateway.outcomes} == {4}


async def test_the_reasoning_and_the_tool_call_are_really_in_the_repeated_answer(gateway: Gateway) -> None:
    for kind in ("tools", "reasoning"):
        gateway.provider.script("up-small", reply_for(kind, stream=False))
        await ask(gateway, kind, stream=False)
    tools, reasoning = [(await ask(gateway, kind, stream=True))["choices"][0] for kind in ("tools", "reasoning")]
    assert tools["finish_reason"] == "tool_calls"
    assert tools["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Oslo", "days": [1, 2]}'
    assert reasoning["message"]["reasoning_content"] == "2 × 3 is 6"
    assert reasoning["message"]["content"] == "Six."


async def test_a_repeated_stream_shows_usage_only_to_who_asked(gateway: Gateway) -> None:
    await gateway.chat("again", stream=True, stream_options=WITH_USAGE)
    without = folded(await gateway.chat("again", stream=True))
    with_usage = folded(await gateway.chat("again", stream=True, stream_options=WITH_USAGE))
    assert without.usage is None
    assert with_usage.usage == USAGE
    assert len(gateway.provider.requests) == 1


async def test_what_changes_no_answer_does_not_miss(gateway: Gateway) -> None:
    await gateway.chat("same")
    varied: list[Json] = [
        {"n": 1, "top_p": 1.0, "user": "u1"},
        {"stream": False, "metadata": {"a": "b"}},
        {"presence_penalty": 0, "logit_bias": {}, "tools": None},
    ]
    for fields in varied:
        assert (await gateway.chat("same", **fields)).headers["x-foreword-cache"] == "hit"


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # of the client's own loop
async def test_a_very_long_request_is_repeated_and_one_that_ends_otherwise_is_not(gateway: Gateway) -> None:
    statuses = []
    for end in ("a", "a", "b"):
        long: Json = {"type": "content", "content": "an endless transcript " * 60_000 + end}
        statuses.append((await gateway.chat("go on", prediction=long)).headers["x-foreword-cache"])
    assert statuses == ["miss", "hit", "miss"]


async def test_what_may_change_the_answer_is_another_question(gateway: Gateway) -> None:
    await gateway.chat("same")
    varied: list[Json] = [{"max_tokens": 5}, {"seed": 7}, {"temperature": 0.1}, {"stop": ["x"]}, {"model": "large"}]
    for fields in (*varied, {"unknown_to_us": 1}, {"n": 2}, {"response_format": {"type": "json_object"}}):
        assert (await gateway.chat("same", **fields)).headers["x-foreword-cache"] == "miss", fields


async def test_a_hit_says_its_age_and_how_long_it_lives(gateway: Gateway) -> None:
    first = await gateway.chat("aged")
    second = await gateway.chat("aged")
    assert first.headers["Cache-Status"] == "foreword; fwd=miss"
    assert "Age" not in first.headers
    assert 0 <= int(second.headers["Age"]) < 60
    assert second.headers["Cache-Status"].startswith("foreword; hit; ttl=35")
    assert second.headers["Cache-Status"].endswith("; detail=memory")


# -- what callers may wish for ---------------------------------------------------------------------------------------


async def test_no_cache_asks_the_provider_and_renews_the_answer(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(words=("old",)), Reply(words=("new",)))
    await gateway.chat("fresh")
    asked = await gateway.chat("fresh", headers={"Cache-Control": "no-cache"})
    assert asked.headers["x-foreword-cache"] == "bypass"
    assert folded(asked).text == "new"
    assert folded(await gateway.chat("fresh")).text == "new"
    assert len(gateway.provider.requests) == 2


async def test_no_store_leaves_nothing_behind(gateway: Gateway) -> None:
    await gateway.chat("secret", headers={"Cache-Control": "no-store"})
    assert (await gateway.chat("secret")).headers["x-foreword-cache"] == "miss"


async def test_max_age_0_is_too_young_for_any_answer(gateway: Gateway) -> None:
    await gateway.chat("young")
    assert (await gateway.chat("young", headers={"Cache-Control": "max-age=0"})).headers["x-foreword-cache"] == "miss"
    aged = await gateway.chat("young", headers={"Cache-Control": 'max-age="3600"'})
    assert aged.headers["x-foreword-cache"] == "hit"


@pytest.mark.parametrize("wish", ["only-if-cached", "only-if-cached, no-cache"])
async def test_only_if_cached_is_a_504_that_calls_nobody(gateway: Gateway, wish: str) -> None:
    answer = await gateway.chat("rare", headers={"Cache-Control": wish})
    assert answer.status == 504
    assert answer.json()["error"]["code"] == "only_if_cached"
    assert gateway.provider.requests == []


async def test_only_if_cached_is_given_what_is_there(gateway: Gateway) -> None:
    await gateway.chat("rare")
    answer = await gateway.chat("rare", headers={"Cache-Control": "Only-If-Cached"})
    assert (answer.status, answer.headers["x-foreword-cache"]) == (200, "hit")


async def test_litellms_cache_object_is_obeyed_and_never_sent_on(gateway: Gateway) -> None:
    wishes: list[tuple[dict[str, object], str]] = [
        ({"namespace": "a"}, "miss"),
        ({"namespace": "b"}, "miss"),
        ({"namespace": "a"}, "hit"),
        ({"no-cache": True, "namespace": "a"}, "bypass"),
        ({"no-store": True, "namespace": "c"}, "miss"),
        ({"namespace": "c"}, "miss"),
    ]
    for wish, expected in wishes:
        assert (await gateway.chat("wished", cache=wish)).headers["x-foreword-cache"] == expected, wish
    assert not [seen for seen in gateway.provider.requests if "cache" in seen.json()]


async def test_a_wished_ttl_shortens_the_routes_and_never_lengthens_it(gateway: Gateway) -> None:
    for ttl_s, shown in ((60, "ttl=59"), (1_000_000, "ttl=3599")):
        await gateway.chat(f"ttl {ttl_s}", cache={"ttl": ttl_s})
        assert shown in (await gateway.chat(f"ttl {ttl_s}")).headers["Cache-Status"]


async def test_an_answer_past_its_ttl_is_asked_for_again(gateway: Gateway) -> None:
    await gateway.chat("brief", cache={"ttl": 1e-6})
    assert (await gateway.chat("brief")).headers["x-foreword-cache"] == "miss"


async def test_a_malformed_cache_object_is_a_400_that_names_it(gateway: Gateway) -> None:
    wishes: list[object] = ["yes", {"ttl": -1}, {"ttl": True}, {"namespace": "a b"}, {"namespace": 7}]
    for wish in wishes:
        answer = await gateway.chat("x", cache=wish)
        assert answer.status == 400, wish
        assert answer.json()["error"]["param"].startswith("cache")


async def test_the_ttl_is_the_routes(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=TTLS)
    for tag, shown in (("kind=short", "ttl=1799"), ("kind=other", "ttl=7199")):
        await gateway.chat(tag, headers={"x-foreword-tags": tag})
        assert shown in (await gateway.chat(tag, headers={"x-foreword-tags": tag})).headers["Cache-Status"]
    for _ in range(2):
        off = await gateway.chat("off", headers={"x-foreword-tags": "kind=off"})
        assert off.headers["x-foreword-cache"] == "bypass"


# -- who may read it -------------------------------------------------------------------------------------------------


async def test_tenants_never_share_an_answer_and_keys_of_one_tenant_do(gateway: Gateway) -> None:
    await gateway.chat("ours")
    keys = gateway.worker.services.keys
    stranger = await keys.create(gateway.tenant + "-other")
    colleague = await keys.create(gateway.tenant)
    for secret, expected in ((stranger.secret, "miss"), (colleague.secret, "hit")):
        answer = await gateway.chat("ours", headers={"Authorization": f"Bearer {secret}"})
        assert answer.headers["x-foreword-cache"] == expected


async def test_a_key_without_the_model_is_refused_a_stored_answer_of_it(gateway: Gateway) -> None:
    await gateway.chat("ours")
    narrow = await gateway.worker.services.keys.create(gateway.tenant, models=["embed"])
    answer = await gateway.chat("ours", headers={"Authorization": f"Bearer {narrow.secret}"})
    assert (answer.status, answer.json()["error"]["code"]) == (403, "model_not_allowed")


async def test_a_second_gateway_on_the_same_redis_hits_what_the_first_stored(start_gateway: StartGateway) -> None:
    first, second = await start_gateway(), await start_gateway()
    told = await first.chat("shared", stream=True)
    await until_shared(first, first.outcomes[0].cache_key)
    same = await second.worker.services.keys.create(first.tenant)
    headers = {"Authorization": f"Bearer {same.secret}"}
    answers = [await second.chat("shared", headers=headers, stream=True) for _ in range(2)]
    assert [answer.body for answer in answers] == [told.body, told.body]
    assert [outcome.cache_tier for outcome in second.outcomes] == ["redis", "memory"]
    assert second.provider.requests == []


async def test_embeddings_are_kept_per_encoding(gateway: Gateway) -> None:
    for encoding, expected in (("float", "miss"), ("base64", "miss"), ("float", "hit")):
        body = {"model": "embed", "input": "text", "encoding_format": encoding}
        assert (await gateway.post("/v1/embeddings", body)).headers["x-foreword-cache"] == expected


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    """A redis-server that a test may kill; started in the main thread, with whose end it ends."""
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        server = EmbeddedRedis.start(Path(directory))
        yield server
        server.stop()


async def test_without_redis_requests_are_answered_and_hits_come_from_memory(
    own_redis: EmbeddedRedis, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(redis_url=own_redis.url)
    await gateway.chat("before")
    os.kill(own_redis.pid, signal.SIGKILL)
    hit = await gateway.chat("before")
    miss = await gateway.chat("after")
    again = await gateway.chat("after")
    assert [answer.headers["x-foreword-cache"] for answer in (hit, miss, again)] == ["hit", "miss", "hit"]
    assert [outcome.cache_tier for outcome in gateway.outcomes] == ["none", "memory", "none", "memory"]
    assert await redis_as_shown(gateway) == (200, "redis down")
    await asyncio.to_thread(own_redis.revive)
    async with asyncio.timeout(30):
        while await redis_as_shown(gateway) != (200, "redis up"):
            pass


async def redis_as_shown(gateway: Gateway) -> tuple[int, str]:
    async with gateway.session.get(gateway.url + "/health/ready") as ready:
        return ready.status, (await ready.json())["store"]
