"""What is booked for an answer that did not go straight: the sum of what its attempts cost, and never nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

import pytest

from gateway.outcome import Outcome
from router.types import Usage
from tests.http.conftest import StartGateway
from tests.http.folding import until_callers, until_no_calls
from tests.http.running import MODELS, POLICY, Gateway
from tests.nowhere import full_backlog
from tests.provider import Reply
from tests.unit.gateway.metric_samples import parsed, value

PRICES = "api_key: sk-provider-large, input_cost_per_token: 3.0e-6, output_cost_per_token: 5.0e-6}"
PRICED = MODELS.replace("api_key: sk-provider-large}", PRICES)


async def booked(gateway: Gateway) -> Outcome:
    """Return the one Outcome, whose totals must be those of its attempts."""
    await until_callers(gateway, 0)
    await until_no_calls(gateway)
    [outcome] = gateway.outcomes
    usages = [attempt.usage for attempt in outcome.attempts if attempt.usage is not None]
    assert outcome.cost_nanousd == sum(attempt.cost_nanousd or 0 for attempt in outcome.attempts)
    assert outcome.usage.input_tokens == sum(usage.input_tokens for usage in usages)
    assert outcome.usage.output_tokens == sum(usage.output_tokens for usage in usages)
    assert outcome.usage.is_estimated == any(usage.is_estimated for usage in usages)
    return outcome


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_cancelled_before_its_first_token_costs_its_prompt_at_least(
    gateway: Gateway, stream: bool
) -> None:
    gateway.provider.script("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.chat("a prompt that the provider reads", stream=stream))
        await gateway.provider.wait_for_requests(1)
        leaving.cancel()
    await gateway.provider.wait_for_hang_up()
    outcome = await booked(gateway)
    assert (outcome.result, len(outcome.attempts)) == ("cancelled", 1)
    assert outcome.usage.is_estimated
    assert outcome.usage.input_tokens == outcome.input_tokens_estimate > 0
    assert outcome.cost_nanousd == outcome.usage.input_tokens * 1_000  # 1 USD per million


async def test_a_cancelled_call_of_a_model_without_a_price_is_no_free_one(start_gateway: StartGateway) -> None:
    models = MODELS.replace("model: openai/up-large", "model: openai/nobody-knows").replace("gpt-4o}", "no-such-model}")
    gateway = await start_gateway(models=models)
    gateway.provider.always("*", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.chat("hello", model="large"))
        await gateway.provider.wait_for_requests(1)
        leaving.cancel()
    await gateway.provider.wait_for_hang_up()
    await until_no_calls(gateway)
    [outcome] = gateway.outcomes
    assert outcome.cost_nanousd is None
    assert outcome.usage.input_tokens > 0


async def test_a_cut_stream_that_ended_in_an_error_event_costs_what_was_produced(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(words=("word " * 40,) * 6, fault="cut", after_events=4))
    answer = await gateway.chat("cut", stream=True)
    assert '"code":"stream_cut"' in answer.events()[-1]
    outcome = await booked(gateway)
    assert (outcome.result, outcome.error_code) == ("error", "stream_cut")
    assert outcome.usage.is_estimated
    assert outcome.usage.output_tokens > 0
    assert outcome.cost_nanousd == outcome.usage.input_tokens * 1_000 + outcome.usage.output_tokens * 2_000


async def test_a_first_leg_that_was_refused_costs_nothing_beside_the_fallback_that_answered(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(models=PRICED)
    gateway.provider.always("up-small", Reply(status=500))
    assert (await gateway.chat("fall back")).status == 200
    outcome = await booked(gateway)
    assert [attempt.reason for attempt in outcome.attempts] == ["first", "retry", "fallback"]
    assert [attempt.cost_nanousd for attempt in outcome.attempts] == [0, 0, 11 * 3_000 + 4 * 5_000]


async def test_a_first_leg_that_was_cut_is_paid_beside_the_fallback_that_answered(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(models=PRICED, policy=POLICY.replace("on_cut: error", "on_cut: hold"))
    gateway.provider.always("up-small", Reply(words=("word " * 40,) * 6, fault="cut", after_events=4))
    answer = await gateway.chat("held", stream=True)
    assert answer.events()[-1] == "[DONE]"
    outcome = await booked(gateway)
    assert outcome.result == "ok"
    assert all(attempt.cost_nanousd for attempt in outcome.attempts)
    assert outcome.attempts[-1].cost_nanousd == 11 * 3_000 + 4 * 5_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["silent", "headers_only"])
async def test_a_first_leg_that_timed_out_costs_its_prompt_beside_the_fallback_that_answered(
    start_gateway: StartGateway, fault: Literal["silent", "headers_only"], stream: bool
) -> None:
    gateway = await start_gateway(models=PRICED, first_token_timeout_s="0.3", answer_timeout_s="0.3")
    gateway.provider.always("up-small", Reply(fault=fault))
    assert (await gateway.chat("a prompt that the provider reads", stream=stream)).status == 200
    outcome = await booked(gateway)
    assert [(attempt.reason, attempt.error_code) for attempt in outcome.attempts] == [
        ("first", "timeout"),
        ("fallback", None),
    ]
    late = outcome.attempts[0]
    assert late.usage == Usage(input_tokens=outcome.input_tokens_estimate, is_estimated=True)
    assert late.cost_nanousd == outcome.input_tokens_estimate * 1_000
    assert outcome.usage.is_estimated


@pytest.fixture
def nowhere() -> Iterator[str]:
    with full_backlog() as base:
        yield base


async def test_a_first_leg_that_never_got_a_connection_costs_nothing_and_is_not_tried_again(
    start_gateway: StartGateway, nowhere: str
) -> None:
    models = PRICED.replace('up-small, api_base: "{base}"', f'up-small, api_base: "{nowhere}"')
    gateway = await start_gateway(models=models, connect_timeout_s="0.3")
    assert (await gateway.chat("nobody has read this")).status == 200
    outcome = await booked(gateway)
    assert [(attempt.reason, attempt.error_code) for attempt in outcome.attempts] == [
        ("first", "unreachable"),
        ("fallback", None),
    ]
    assert (outcome.attempts[0].usage, outcome.attempts[0].cost_nanousd) == (None, 0)


async def test_who_joins_a_call_that_fails_pays_nothing_and_its_first_caller_all(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(words=("word " * 40,) * 6, gate="g", gate_at=2, fault="cut"))
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(gateway.chat("together", stream=True))
        await until_callers(gateway, 3)
        gateway.provider.open_gate("g")
    await until_no_calls(gateway)
    costs = sorted(outcome.cost_nanousd or 0 for outcome in gateway.outcomes)
    assert costs[:2] == [0, 0]
    [call] = [attempt for outcome in gateway.outcomes for attempt in outcome.attempts]
    assert costs[2] == call.cost_nanousd
    assert costs[2] > 0


async def test_malformed_events_of_a_stream_are_counted(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(malformed_at=2))
    assert (await gateway.chat("odd", stream=True)).events()[-1] == "[DONE]"
    text, _ = await asyncio.to_thread(gateway.worker.services.metrics.render)
    assert value(parsed(text), "foreword_malformed_events_total", model="small", provider="openai") == 1
