"""A stream that breaks off after its first byte, as a client sees it: complete all the same."""

from __future__ import annotations

import json

import pytest

from tests.http.conftest import StartGateway
from tests.http.folding import folded
from tests.http.running import POLICY
from tests.provider import Reply


@pytest.mark.parametrize("on_cut", ["resume", "hold"])
async def test_a_cut_stream_is_completed_by_the_fallback_and_every_leg_is_booked(
    start_gateway: StartGateway, on_cut: str
) -> None:
    gateway = await start_gateway(policy=POLICY.replace("on_cut: error", f"on_cut: {on_cut}"))
    gateway.provider.always("up-small", Reply(fault="cut", after_events=3))
    answer = await gateway.chat("cut", stream=True)
    assert folded(answer).text == "Hello there, bot."
    assert answer.events()[-1] == "[DONE]"
    assert json.loads(answer.events()[-2])["model"] == "up-large"
    (outcome,) = gateway.outcomes
    assert (outcome.result, outcome.routed_model, outcome.response_model) == ("ok", "large", "up-large")
    legs = [attempt.cost_nanousd for attempt in outcome.attempts]
    assert all(legs)
    assert outcome.cost_nanousd == sum(cost for cost in legs if cost is not None)
    assert outcome.attempts[-1].reason == ("resume" if on_cut == "resume" else "fallback")
