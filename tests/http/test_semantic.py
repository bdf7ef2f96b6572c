"""The semantic tier through a whole gateway: when another wording gets an answer, how it is told, what it teaches."""

from __future__ import annotations

import pytest

from gateway.embedder.hashing import HashingEncoder
from tests.http.conftest import StartGateway
from tests.http.folding import folded
from tests.http.running import Gateway
from tests.http.wordings import AGAIN, FIRST, open_class, policy, the_class, until_quiet
from tests.provider import Reply


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(policy=policy(), embedder=HashingEncoder())


async def test_a_class_that_has_proved_nothing_yet_serves_nothing_but_learns(gateway: Gateway) -> None:
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    second = await gateway.chat(AGAIN)
    assert second.headers["x-foreword-cache"] == "miss"
    await until_quiet(gateway)
    assert gateway.outcomes[-1].semantic == "gate:observing"
    found = await the_class(gateway)
    assert found.state.totals.labels == 1


async def test_another_wording_gets_the_stored_answer_once_the_bound_is_proven(gateway: Gateway) -> None:
    await open_class(gateway)
    await gateway.chat(FIRST)
    await until_quiet(gateway)
    asked = len(gateway.provider.requests)
    second = await gateway.chat(AGAIN)
    assert second.headers["x-foreword-cache"] == "semantic-hit", gateway.outcomes[-1]
