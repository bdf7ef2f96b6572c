"""A provider's vectors come through the flow: booked to who asked, of one length and size, in time or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from gateway.cache.semantic.types import Embedded, EmbedderUnavailable, TooLong
from gateway.embedder.provider import ProviderEmbedder
from gateway.keys import Caller
from tests.http.running import MODELS, POLICY, Gateway, running_gateway
from tests.replies import Reply


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path / "files", redis_url, models=MODELS, policy=POLICY, settings={}) as running:
        yield running


def _embedder(gateway: Gateway, *, group: str = "embed", dim: int = 3, timeout_s: float = 30.0) -> ProviderEmbedder:
    services = gateway.worker.services
    return ProviderEmbedder(
        run=services.flow.run,
        group=group,
        dim=dim,
        window=100,
        timeout_s=timeout_s,
        clock=services.clock,
        limits=services.limits,
        caller=Caller(tenant=gateway.tenant, key_id="k", allowed_models=frozenset({"small"})),
    )


def _answering(gateway: Gateway, *vectors: list[float]) -> None:
    body = {
        "object": "list",
        "model": "up-embed",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
    gateway.provider.always("*", Reply(body=json.dumps(body)))


async def test_a_vector_has_unit_norm_and_its_cost_is_booked_to_the_caller(gateway: Gateway) -> None:
    _answering(gateway, [3.0, 0.0, 4.0])
    answer = await _embedder(gateway).embed("a question \ud800")
    assert isinstance(answer, Embedded)
    assert answer.tokens == 9
    assert np.allclose(answer.vector, [0.6, 0.0, 0.8])
    (outcome,) = gateway.outcomes
    assert (outcome.origin, outcome.tenant, outcome.requested_model) == ("cache", gateway.tenant, "embed")
    assert outcome.cost_nanousd
    assert outcome.interaction_cost_nanousd == 0


async def test_another_caller_pays_for_its_own(gateway: Gateway) -> None:
    _answering(gateway, [1.0, 0.0, 0.0])
    other = Caller(tenant=f"{gateway.tenant}-other", key_id="k", allowed_models=None)
    await _embedder(gateway).for_caller(other).embed("theirs")
    assert [outcome.tenant for outcome in gateway.outcomes] == [other.tenant]


@pytest.mark.parametrize("vectors", [[[1.0, 2.0]], [], [[0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
async def test_a_vector_of_another_shape_is_no_vector(gateway: Gateway, vectors: list[list[float]]) -> None:
    _answering(gateway, *vectors)
    with pytest.raises(EmbedderUnavailable, match="embed: "):
        await _embedder(gateway).embed("a question")


async def test_a_text_beyond_the_window_is_never_sent(gateway: Gateway) -> None:
    answer = await _embedder(gateway).embed("word " * 200)
    assert isinstance(answer, TooLong)
    assert gateway.outcomes == []


@pytest.mark.parametrize("text", ["", "fine"])
async def test_a_refusal_is_no_crash(gateway: Gateway, text: str) -> None:
    with pytest.raises(EmbedderUnavailable, match=r"nobody|empty"):
        await _embedder(gateway, group="nobody" if text else "embed").embed(text)


async def test_a_provider_that_takes_too_long_is_not_waited_for(gateway: Gateway) -> None:
    gateway.provider.always("*", Reply(delay_s=30.0))
    with pytest.raises(EmbedderUnavailable, match=r"within|deadline"):
        await _embedder(gateway, timeout_s=0.05).embed("a question")
