"""`embedder: litellm:GROUP`: questions become vectors by a provider's model, asked and booked through the flow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.http.running import MODELS, Gateway, running_gateway
from tests.http.wordings import AGAIN, FIRST, policy, until_quiet
from tests.provider import Reply

BASE = "base_model: text-embedding-3-small"
KNOWN = MODELS.replace(BASE, f"{BASE}, output_vector_size: 3")
VECTOR = {
    "object": "list",
    "model": "up-embed",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.0, 0.8]}],
    "usage": {"prompt_tokens": 9, "total_tokens": 9},
}


@asynccontextmanager
async def started(home: Path, redis_url: str, embedder: str, models: str = KNOWN) -> AsyncIterator[Gateway]:
    # A caller would not wait so long; here a busy machine must not look like a provider that is away.
    settings: dict[str, str | bool] = {"embedder": embedder, "embedder_timeout_s": "20"}
    async with running_gateway(home, redis_url, models=models, policy=policy(), settings=settings) as gateway:
        gateway.provider.always("up-embed", Reply(body=json.dumps(VECTOR)))
        yield gateway


async def test_a_question_becomes_a_vector_by_the_providers_model_and_its_caller_pays(
    tmp_path: Path, redis_url: str
) -> None:
    async with started(tmp_path / "files", redis_url, "litellm:embed") as gateway:
        for text in (FIRST, AGAIN):
            await gateway.chat(text)
            await until_quiet(gateway)
    told = [one for one in gateway.outcomes if one.origin == "user"]
    assert (told[1].semantic, told[1].similarity) == ("gate:observing", 1.0)
    assert told[1].nearest_key == told[0].cache_key
    embedded = [one for one in gateway.outcomes if one.endpoint == "embeddings"]
    assert len(embedded) >= 2
    assert {(one.origin, one.tenant, one.requested_model) for one in embedded} == {("cache", gateway.tenant, "embed")}
    assert all(one.cost_nanousd for one in embedded if one.cache == "miss")


async def test_a_group_that_gives_no_vectors_of_a_known_length_leaves_the_tier_off(
    tmp_path: Path, redis_url: str
) -> None:
    unknown = MODELS.replace(BASE, "mode: embedding")
    cases = (("litellm:small", KNOWN), ("litellm:nobody", KNOWN), ("litellm:embed", unknown))
    for number, (embedder, models) in enumerate(cases):
        async with started(tmp_path / str(number), redis_url, embedder, models) as gateway:
            answer = await gateway.chat(FIRST)
            assert answer.status == 200
            assert gateway.worker.semantic.hook.tier is None
