"""Redis with the wrong type under a key, every key that a request leaves behind in turn: no request fails for it."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from tests.faults.stores import told
from tests.http.folding import until_shared
from tests.http.running import MODELS, POLICY, Gateway, running_gateway

LIMITED = POLICY.replace(
    "policy: default\n",
    "policy: default\n"
    "budgets: [{scope: tenant, limit_usd: 1000, window: month, hard: false}]\n"
    "rate_limits: [{scope: key, requests_per_minute: 100000}]\n",
)


async def used_keys(gateway: Gateway) -> list[str]:
    """Return every key in Redis once a request of each kind has been answered and told of."""
    assert (await gateway.chat("first")).status == 200
    assert (await gateway.chat("streamed", stream=True)).status == 200
    for outcome in gateway.outcomes:
        await until_shared(gateway, outcome.cache_key)
    await gateway.worker.ledger.flush()
    await gateway.worker.spend.budgets.flush()
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    return sorted([key async for key in store.scan("foreword:")])


async def test_whatever_key_holds_the_wrong_type_no_request_fails_and_no_error_is_logged(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    settings: dict[str, str | bool] = {"memory_cache_bytes": "0"}
    async with running_gateway(
        tmp_path / "files", redis.url, models=MODELS, policy=LIMITED, settings=settings
    ) as gateway:
        keys = await used_keys(gateway)
        kinds = {key.split(":")[1] for key in keys}
        assert {"cache", "ledger", "keys", "{b"} <= kinds, keys
        with capture_logs() as lines:
            for number, key in enumerate(keys):
                await told(redis, "RENAME", key, "aside")
                assert await told(redis, "LPUSH", key, "x") == ":1"
                answers = [await gateway.chat("first"), await gateway.chat("streamed", stream=True)]
                answers += [await gateway.chat(f"{number}"), await gateway.chat(f"s{number}", stream=True)]
                assert [answer.status for answer in answers] == [200] * 4, key
                await told(redis, "DEL", key)
                await told(redis, "RENAME", "aside", key)
        assert [line for line in lines if line["log_level"] in ("error", "critical")] == []
        assert [line["event"] for line in lines if line["event"].startswith("redis is")] == []
