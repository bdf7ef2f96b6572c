"""Chat through a whole gateway: what the caller gets, what the provider saw, what the headers say."""

from __future__ import annotations

import json

from tests.http.running import Gateway
from tests.provider import Reply


async def test_an_answer_comes_back_with_its_cost_route_and_model(gateway: Gateway) -> None:
    answer = await gateway.chat("hello", unknown_field={"kept": [1, 2]})
    body = answer.json()
    assert answer.status == 200
    assert body["choices"][0]["message"]["content"] == "Hello there, bot."
    assert answer.headers["x-foreword-cache"] == "miss"
    assert answer.headers["x-foreword-model"] == "small"
    assert answer.headers["x-foreword-route"] == "chat"
    assert answer.headers["x-foreword-attempts"] == "1"
    # 11 input tokens at 1 USD and 4 output tokens at 2 USD per million.
    assert answer.headers["x-foreword-cost-usd"] == "0.000019000"
    [seen] = gateway.provider.requests
    assert seen.json()["model"] == "up-small"
    assert seen.json()["unknown_field"] == {"kept": [1, 2]}
    assert seen.headers["authorization"] == "Bearer sk-provider-small"
    [outcome] = gateway.outcomes
    assert (outcome.result, outcome.cost_nanousd, outcome.routed_model) == ("ok", 19_000, "small")


async def test_the_second_time_the_provider_is_not_asked(gateway: Gateway) -> None:
    first = await gateway.chat("same")
    second = await gateway.chat("same")
    assert first.body == second.body
    assert second.headers["x-foreword-cache"] == "hit"
    assert second.headers["x-foreword-saved-usd"] == "0.000019000"
    assert second.headers["x-foreword-cost-usd"] == "0.000000000"
    assert len(gateway.provider.requests) == 1


async def test_a_stream_ends_with_done_and_hides_the_usage_nobody_asked_for(gateway: Gateway) -> None:
    answer = await gateway.chat("stream", stream=True)
    events = answer.events()
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert said == "Hello there, bot."
    assert all(chunk["choices"] for chunk in chunks)
    assert gateway.provider.requests[0].json()["stream_options"] == {"include_usage": True}
    assert gateway.outcomes[0].usage.input_tokens == 11


async def test_a_persistent_failure_of_both_models_is_one_clear_error(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(status=503))
    gateway.provider.always("up-large", Reply(status=500))
    answer = await gateway.chat("fails")
    error = answer.json()["error"]
    assert answer.status == 502
    assert error["source"] == "provider"
    assert answer.headers["x-should-retry"] == "false"
    assert gateway.outcomes[0].result == "error"
    assert len(gateway.outcomes[0].attempts) == 4
