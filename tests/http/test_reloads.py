"""Policies are reloaded while requests are served: none fails, and none is of two versions."""

from __future__ import annotations

from tests.bench.reloads import Texts, play
from tests.http.conftest import StartGateway
from tests.http.running import Gateway


async def test_sixty_reloads_under_load_fail_no_request_and_split_none(start_gateway: StartGateway) -> None:
    gateway: Gateway = await start_gateway()
    texts = Texts(gateway.worker.services.settings.policies)
    before = gateway.worker.services.book.current().policies[0]
    texts.meant[f"default@{before.version}"] = ("chat", "small")
    counts = await play(gateway, texts, many=60, rate=150.0, seed=2)
    assert not counts.failed
    assert counts.split == []
    assert counts.good > 20
    assert counts.bad > 5
    assert counts.requests > 30
    assert len(counts.seen) > 10
