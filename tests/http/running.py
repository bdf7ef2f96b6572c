"""A whole gateway under test: its files, where it listens, a key for it, its provider, and every Outcome it told of."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import build
from gateway.cache.semantic.types import Embedder
from gateway.documents import read_documents
from gateway.keys import CreatedKey
from gateway.outcome import Outcome
from gateway.ports import StoreUnavailable
from gateway.settings import GIVEN_BY_CODE, Settings, load_settings
from gateway.worker import Worker, drain, start
from tests.provider import ScriptedProvider

MODELS = """
model_list:
  - {{model_name: small, litellm_params: {{model: openai/up-small, api_base: "{base}", api_key: sk-provider-small,
     input_cost_per_token: 1.0e-6, output_cost_per_token: 2.0e-6, cache_read_input_token_cost: 5.0e-7}},
     model_info: {{base_model: gpt-4o-mini}}}}
  - {{model_name: large, litellm_params: {{model: openai/up-large, api_base: "{base}", api_key: sk-provider-large}},
     model_info: {{base_model: gpt-4o}}}}
  - {{model_name: embed, litellm_params: {{model: openai/up-embed, api_base: "{base}", api_key: sk-provider-embed}},
     model_info: {{base_model: text-embedding-3-small}}}}
"""
POLICY = """
version: 1
policy: default
routes:
  - {name: embeddings, match: {dialect: embeddings}, candidates: [requested], cache: {exact_ttl: 1h}}
  - {name: task, match: {tag: "task=*"}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: null}}
  - {name: chat, match: {any: true}, candidates: [requested], fallbacks: [large], deadline: 5s, on_cut: error,
     cache: {exact_ttl: 1h, max_temperature: 0.3}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the decoded body."""
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded

    def events(self) -> list[str]:
        """Return the data of each server-sent event."""
        lines = self.body.decode().splitlines()
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A running gateway: where it listens, a key for it, its provider, and every Outcome it told of."""

    worker: Worker = field(repr=False)
    provider: ScriptedProvider
    url: str
    key: str
    tenant: str
    session: aiohttp.ClientSession
    outcomes: list[Outcome] = field(repr=False)

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        """POST JSON with the key; `_` in a header's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(self.url + path, json=body, headers=named) as answer:
            return Answer(status=answer.status, headers=answer.headers, body=await answer.read())

    async def chat(self, text: str = "hi", *, headers: dict[str, str] | None = None, **fields: object) -> Answer:
        """Send one chat request."""
        body = {"model": "small", "messages": [{"role": "user", "content": text}], **fields}
        return await self.post("/v1/chat/completions", body, **(headers or {}))


def write_files(home: Path, provider: ScriptedProvider, models: str, policy: str) -> None:
    """Write a policies directory; blocks."""
    home.mkdir()
    (home / "models.yaml").write_text(models.format(base=provider.api_base))
    (home / "default.yaml").write_text(policy)


def settings_for(home: Path, redis_url: str, changed: dict[str, str | bool]) -> Settings:
    """Return the settings of a test's gateway, those too that code alone can give; blocks."""
    flags: dict[str, str | bool] = {
        "redis_url": redis_url,
        "policies": str(home),
        "models": str(home / "models.yaml"),
        "drain_s": "2",
        "embedder": "off",
        # Two cores run whole suites beside this: 50 ms would sometimes be the machine's fault, not Redis's.
        "redis_timeout_s": "2",
    }
    by_code = {name: value for name, value in changed.items() if name in GIVEN_BY_CODE}
    flags |= {name: value for name, value in changed.items() if name not in GIVEN_BY_CODE}
    return load_settings(flags=flags, environment={}).settings.model_copy(update=by_code)


async def _key(worker: Worker, tenant: str) -> CreatedKey:
    """Make a key. A machine that stood still for a second may have cost the first connection to Redis."""
    for _ in range(20):
        try:
            return await worker.services.keys.create(tenant, name="test")
        except StoreUnavailable:
            await worker.services.clock.sleep(0.1)
    return await worker.services.keys.create(tenant, name="test")


@asynccontextmanager
async def running_gateway(
    home: Path,
    redis_url: str,
    *,
    models: str,
    policy: str,
    settings: dict[str, str | bool],
    embedder: Embedder | None = None,
) -> AsyncIterator[Gateway]:
    """Start a gateway as a worker process would, give it a key and a tenant of its own, drain it in the end."""
    async with ScriptedProvider() as provider:
        await asyncio.to_thread(write_files, home, provider, models, policy)
        loaded = await asyncio.to_thread(settings_for, home, redis_url, settings)
        outcomes: list[Outcome] = []
        documents = await asyncio.to_thread(read_documents, loaded)
        worker = await asyncio.to_thread(
            build, loaded, documents, access_log=outcomes.append, seed=0, embedder=embedder
        )
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await start(worker, [listener])
        tenant = f"t-{uuid.uuid4().hex[:12]}"
        made = await _key(worker, tenant)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {made.secret}"}) as session:
            yield Gateway(
                worker=worker,
                provider=provider,
                url=f"http://127.0.0.1:{listener.getsockname()[1]}",
                key=made.secret,
                tenant=tenant,
                session=session,
                outcomes=outcomes,
            )
        await drain(worker)
