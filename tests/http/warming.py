"""A warmer beside a gateway under test, on its parts, with prices that have a cheaper tier; and its Redis cleared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.loads import LOADS
from gateway.retained.kept import NOTES
from gateway.stores.redis import RedisStore
from gateway.warming.build import Warming, build_warming
from gateway.warming.driver import Pace
from gateway.warming.leader import LEADER
from tests.http.running import Gateway
from warmer.types import Crowded, Known, Quote, Recipe, Warmed

MODELS = """
model_list:
  - {{model_name: small, litellm_params: {{model: openai/up-small, api_base: "{base}", api_key: sk-provider-small,
     input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6, cache_read_input_token_cost: 5.0e-7,
     input_cost_per_token_flex: 5.0e-7, output_cost_per_token_flex: 1.0e-6, cache_read_input_token_cost_flex: 2.5e-7}},
     model_info: {{base_model: gpt-4o-mini}}}}
  - {{model_name: large, litellm_params: {{model: openai/up-large, api_base: "{base}", api_key: sk-provider-large}},
     model_info: {{base_model: gpt-4o}}}}
"""
POLICY = """
version: 1
policy: default
warming: {limit_usd_day: 1.0, max_share_of_spend: 1, holdout: 0}
routes:
  - {name: task, match: {tag: "task=*"}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: null}}
  - {name: chat, match: {any: true}, candidates: [requested], fallbacks: [large], cache: {exact_ttl: 1h}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The warmer, and shortcuts to what tests do with it."""

    gateway: Gateway
    warming: Warming
    store: RedisStore

    async def quote(self, recipe: Recipe, *, tenant: str = "") -> Quote | None:
        return await self.warming.asker.quote(tenant or self.gateway.tenant, recipe)

    async def warm(self, recipe: Recipe) -> Warmed | None:
        """Quote and ask, as the warmer does."""
        if await self.quote(recipe) is None:
            return None
        warmed = await self.warming.asker.warm(self.gateway.tenant, recipe, level="answer", predictor="popularity")
        assert not isinstance(warmed, Crowded)
        return warmed

    async def forget_answers(self) -> None:
        """Let every answer of the tenant end, here and in Redis; the requests beside them stay."""
        names = [name async for name in self.store.scan(f"foreword:cache:{{{self.gateway.tenant}}}:")]
        await self.store.delete(names)
        self.gateway.worker.parts.exact.forget(lambda _key, _answer: True)

    async def asked(self, text: str, *, stream: bool = False) -> Known:
        """Let a user ask it, and return the recipe of that, its answer ended."""
        await self.gateway.chat(text, stream=stream)
        key = self.gateway.outcomes[-1].cache_key
        await self.forget_answers()
        self.gateway.provider.requests.clear()
        return Known(key=key)


@asynccontextmanager
async def warmer_beside(gateway: Gateway) -> AsyncIterator[Beside]:
    """Make one that leads; its tasks are not started."""
    store = gateway.worker.store
    assert isinstance(store, RedisStore)
    await store.delete([LEADER, NOTES, LOADS])
    async with another_warmer(gateway, store) as beside:
        assert await beside.warming.leadership.renew()
        yield beside


@asynccontextmanager
async def another_warmer(gateway: Gateway, store: RedisStore) -> AsyncIterator[Beside]:
    """Make one more, on the same notes; it does not lead yet."""
    pace = Pace(step_s=0.02, figures_s=0.1)
    warming = build_warming(gateway.worker, store, pace=pace, lease_s=60.0)
    yield Beside(gateway=gateway, warming=warming, store=store)
    await warming.leadership.release()
