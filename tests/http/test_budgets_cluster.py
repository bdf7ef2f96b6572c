"""A whole gateway on a real Redis Cluster: hedges, clients that leave, a server that dies; and a budget that holds."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from gateway.budgets.meters import tag
from gateway.redis_slots import slot_of
from tests.http.folding import idle_meters, until_callers, until_no_calls
from tests.http.running import MODELS, Gateway, running_gateway
from tests.provider import Reply
from tests.redis_cluster import RedisCluster

PRICED = MODELS.replace(
    "api_key: sk-provider-large}",
    "api_key: sk-provider-large, input_cost_per_token: 3.0e-6, output_cost_per_token: 5.0e-6}",
)
HEDGED = """
version: 1
policy: default
budgets: [{scope: tenant, limit_usd: 0.03, window: month}, {scope: key, limit_usd: 1, window: month}]
routes:
  - {name: chat, match: {any: true}, candidates: [requested], fallbacks: [large], max_output_tokens: 20, deadline: 20s,
     hedge: {after: p90, max: 1, budget_ratio: 0.1}, cache: {exact_ttl: 0}}
"""
WARM = 210
"""More than the 200 first tokens that a hedge learns from."""
SLOW = 24


async def ask_and_perhaps_leave(gateway: Gateway, number: int, *, leaves: bool) -> int:
    """Ask for a stream and read it, or leave at its first bytes; return the status, 0 for who left before it."""
    body = {
        "model": "small",
        "stream": True,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": f"question {number}"}],
    }
    try:
        async with asyncio.timeout(0.03 if leaves else 20):
            async with gateway.session.post(gateway.url + "/v1/chat/completions", json=body) as answer:
                await answer.read()
                return answer.status
    except TimeoutError:
        return 0


async def test_hedges_and_clients_that_leave_are_booked_once_and_nothing_stays_reserved(
    tmp_path: Path, redis_cluster: RedisCluster
) -> None:
    rng = random.Random(6)
    running = running_gateway(tmp_path / "home", redis_cluster.url, models=PRICED, policy=HEDGED, settings={})
    async with running as gateway:
        warm = [await ask_and_perhaps_leave(gateway, number, leaves=False) for number in range(WARM)]
        assert set(warm) == {200}
        gateway.provider.always("up-small", Reply(delay_s=0.1))
        gateway.provider.always("up-large", Reply(delay_s=0.06))
        for number in range(SLOW):
            await ask_and_perhaps_leave(gateway, WARM + number, leaves=rng.random() < 0.3)
        await until_callers(gateway, 0)
        await until_no_calls(gateway)
        meters = await idle_meters(gateway)
        attempts = [attempt for outcome in gateway.outcomes for attempt in outcome.attempts]
        assert any(attempt.reason == "hedge" for attempt in attempts)
        assert any(outcome.result == "cancelled" for outcome in gateway.outcomes)
        cost = sum(attempt.cost_nanousd or 0 for attempt in attempts)
        assert cost == sum(outcome.cost_nanousd or 0 for outcome in gateway.outcomes)
        assert set(meters.values()) == {(cost, 0)}


async def test_while_the_budgets_server_is_away_a_hard_budget_refuses_and_then_serves_again_by_itself(
    tmp_path: Path, redis_cluster: RedisCluster
) -> None:
    node = redis_cluster.owner(slot_of(tag("default")))
    running = running_gateway(tmp_path / "home", redis_cluster.url, models=PRICED, policy=HEDGED, settings={})
    async with running as gateway:
        assert (await gateway.chat("before")).status == 200
        await idle_meters(gateway)  # nothing is at hand any more: the next request has to ask
        asked = len(gateway.provider.requests)
        await asyncio.to_thread(node.kill)
        try:
            refused = await gateway.chat("meanwhile")
        finally:
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(redis_cluster.wait_until_whole)
        assert refused.status == 503
        assert refused.json()["error"]["code"] in ("budget_unavailable", "keys_unavailable")
        assert len(gateway.provider.requests) == asked
        async with asyncio.timeout(30):
            while (await gateway.chat("after")).status != 200:  # noqa: ASYNC110 - the recovery is under test
                await asyncio.sleep(0.02)
        await until_no_calls(gateway)
        cost = sum(outcome.cost_nanousd or 0 for outcome in gateway.outcomes)
        spent = {figures for key, figures in (await idle_meters(gateway)).items() if ":tenant:" in key}
        assert spent == {(cost, 0)}
