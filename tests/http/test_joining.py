"""Identical requests in flight share one provider call: who gets what, who pays, and who may end it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.outcome import Outcome
from tests.http.folding import folded, until_callers, until_no_calls
from tests.http.running import Answer, Gateway
from tests.provider import Reply

COST_NANOUSD = 19_000
"""11 input tokens at 1 USD and 4 output tokens at 2 USD per million."""


def statuses(outcomes: list[Outcome]) -> list[str]:
    return sorted(outcome.cache for outcome in outcomes)


async def test_many_identical_requests_make_one_provider_call(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.chat("together", stream=number % 2 == 1)) for number in range(8)]
        await until_callers(gateway, 8)
        gateway.provider.open_gate("answer")
    said = [folded(task.result()) for task in tasks]
    assert len(gateway.provider.requests) == 1
    assert {answer.text for answer in said} == {"Hello there, bot."}
    assert {answer.id for answer in said} == {"chatcmpl-1"}
    assert statuses(gateway.outcomes) == ["joined"] * 7 + ["miss"]


@pytest.mark.parametrize("first", ["streamed", "whole"])
async def test_streamed_and_unstreamed_callers_join_each_other(gateway: Gateway, first: str) -> None:
    gateway.provider.always("up-small", Reply(gate="answer", gate_at=2 if first == "streamed" else 0))
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(gateway.chat("mixed", stream=first == "streamed"))
        await until_callers(gateway, 1)
        others = [group.create_task(gateway.chat("mixed", stream=stream)) for stream in (True, False)]
        await until_callers(gateway, 3)
        gateway.provider.open_gate("answer")
    [told, *joined] = [folded(task.result()) for task in (leader, *others)]
    assert [answer.choices for answer in joined] == [told.choices, told.choices]
    assert len(gateway.provider.requests) == 1


async def test_a_late_caller_gets_the_tokens_so_far_before_the_rest_exists(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="rest", gate_at=3))
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(gateway.chat("late", stream=True))
        await until_callers(gateway, 1)
        url, body = gateway.url + "/v1/chat/completions", {"model": "small", "stream": True}
        message = {"role": "user", "content": "late"}
        async with gateway.session.post(url, json={**body, "messages": [message]}) as late:
            assert late.headers["x-foreword-cache"] == "joined"
            assert late.headers["Cache-Status"] == "foreword; fwd=miss; collapsed"
            seen = b""
            while b" there" not in seen:
                seen += await late.content.readany()
            gateway.provider.open_gate("rest")
            seen += await late.content.read()
    assert seen == leader.result().body


async def test_who_asked_first_pays_and_the_others_saved_it(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.chat("paid once")) for _ in range(4)]
        await until_callers(gateway, 4)
        gateway.provider.open_gate("answer")
    joined = [outcome for outcome in gateway.outcomes if outcome.cache == "joined"]
    assert [(o.cost_nanousd, o.saved_nanousd, o.cache_tier, o.attempts) for o in joined] == [
        (0, COST_NANOUSD, "inflight", ())
    ] * 3
    assert sum(outcome.cost_nanousd or 0 for outcome in gateway.outcomes) == COST_NANOUSD
    answers = [task.result() for task in tasks]
    shown = sorted((a.headers["x-foreword-cost-usd"], a.headers["x-foreword-saved-usd"]) for a in answers)
    assert shown == [("0.000000000", "0.000019000")] * 3 + [("0.000019000", "0.000000000")]


async def test_costs_over_all_outcomes_are_the_providers_calls(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    async with asyncio.TaskGroup() as group:
        for text in ("one", "two", "one", "two", "one"):
            group.create_task(gateway.chat(text))
        group.create_task(gateway.chat("one", temperature=0.9))
        await until_callers(gateway, 6)
        gateway.provider.open_gate("answer")
    await gateway.chat("one")
    assert len(gateway.provider.requests) == 3
    assert sum(outcome.cost_nanousd or 0 for outcome in gateway.outcomes) == 3 * COST_NANOUSD
    assert statuses(gateway.outcomes) == ["bypass", "hit", "joined", "joined", "joined", "miss", "miss"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_caller_leaving_ends_nothing_for_the_others(gateway: Gateway, stream: bool) -> None:
    gateway.provider.always("up-small", Reply(gate="answer", gate_at=2 if stream else 0))
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(gateway.chat("left behind", stream=stream))
        await until_callers(gateway, 1)
        other = group.create_task(gateway.chat("left behind", stream=stream))
        await until_callers(gateway, 2)
        leader.cancel()
        await until_callers(gateway, 1)
        gateway.provider.open_gate("answer")
    assert folded(other.result()).text == "Hello there, bot."
    assert len(gateway.provider.requests) == 1
    by_result = {outcome.result: outcome for outcome in gateway.outcomes}
    assert set(by_result) == {"cancelled", "ok"}
    # The call was the first caller's, and it ran to its end.
    assert by_result["cancelled"].cost_nanousd == COST_NANOUSD
    assert (by_result["ok"].cost_nanousd, by_result["ok"].saved_nanousd) == (0, COST_NANOUSD)
    assert (await gateway.chat("left behind")).headers["x-foreword-cache"] == "hit"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_provider_is_hung_up_on_when_the_last_caller_has_left(gateway: Gateway, stream: bool) -> None:
    gateway.provider.always("up-small", Reply(gate="never", gate_at=2 if stream else 0))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.chat("all leave", stream=stream)) for _ in range(3)]
        await until_callers(gateway, 3)
        await gateway.provider.wait_for_requests(1)
        tasks[0].cancel()
        tasks[1].cancel()
        await until_callers(gateway, 1)
        assert not gateway.provider.requests[0].hung_up.is_set()
        tasks[2].cancel()
        await gateway.provider.wait_for_hang_up()
    await until_no_calls(gateway)
    assert [outcome.result for outcome in gateway.outcomes] == ["cancelled"] * 3


async def test_a_request_after_all_have_left_starts_a_call_of_its_own(gateway: Gateway) -> None:
    gateway.provider.script("up-small", Reply(gate="never"))
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gateway.chat("again"))
        await gateway.provider.wait_for_requests(1)
        leaving.cancel()
    await gateway.provider.wait_for_hang_up()
    answer = await gateway.chat("again")
    assert (answer.status, answer.headers["x-foreword-cache"]) == (200, "miss")
    assert len(gateway.provider.requests) == 2


async def test_an_error_reaches_every_caller(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer", status=400))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.chat("fails", stream=number == 1)) for number in range(3)]
        await until_callers(gateway, 3)
        gateway.provider.open_gate("answer")
    answers = [task.result() for task in tasks]
    assert [answer.status for answer in answers] == [400] * 3
    assert len({_message(answer) for answer in answers}) == 1
    assert len(gateway.provider.requests) == 1
    assert statuses(gateway.outcomes) == ["joined", "joined", "miss"]
    assert {outcome.result for outcome in gateway.outcomes} == {"error"}


async def test_a_cut_in_the_middle_reaches_every_caller_as_an_error_event(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer", gate_at=2, fault="cut", after_events=3))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.chat("cut", stream=True)) for _ in range(2)]
        whole = group.create_task(gateway.chat("cut"))
        await until_callers(gateway, 3)
        gateway.provider.open_gate("answer")
    for task in tasks:
        assert '"code":"stream_cut"' in task.result().events()[-1]
    # Nothing of it went out to the unstreamed caller, so that it is an ordinary error there.
    assert (whole.result().status, whole.result().json()["error"]["code"]) == (502, "stream_cut")


@pytest.mark.parametrize("how", ["no-store", "temperature"])
async def test_requests_that_may_not_be_stored_are_not_joined(gateway: Gateway, how: str) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    headers = {"Cache-Control": "no-store"} if how == "no-store" else {}
    fields: dict[str, object] = {"temperature": 0.9} if how == "temperature" else {}
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(gateway.chat("alone", headers=headers, **fields))
        await gateway.provider.wait_for_requests(3)
        gateway.provider.open_gate("answer")
    assert "joined" not in statuses(gateway.outcomes)
    assert {outcome.cost_nanousd for outcome in gateway.outcomes} == {COST_NANOUSD}


async def test_tenants_do_not_join_each_other(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    stranger = await gateway.worker.services.keys.create(gateway.tenant + "-other")
    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.chat("mine"))
        group.create_task(gateway.chat("mine", headers={"Authorization": f"Bearer {stranger.secret}"}))
        await gateway.provider.wait_for_requests(2)
        gateway.provider.open_gate("answer")
    assert statuses(gateway.outcomes) == ["miss", "miss"]


async def test_a_key_without_the_model_does_not_join_a_call_of_it(gateway: Gateway) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    narrow = await gateway.worker.services.keys.create(gateway.tenant, models=["embed"])
    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.chat("mine"))
        await until_callers(gateway, 1)
        refused = await gateway.chat("mine", headers={"Authorization": f"Bearer {narrow.secret}"})
        gateway.provider.open_gate("answer")
    assert (refused.status, refused.json()["error"]["code"]) == (403, "model_not_allowed")


@pytest.mark.parametrize("stream", [False, True])
async def test_everyone_keeps_a_deadline_of_their_own(gateway: Gateway, stream: bool) -> None:
    gateway.provider.always("up-small", Reply(gate="answer"))
    hurried = {"x-foreword-deadline-ms": "400"}  # the others must have come by then, on a slow machine too
    async with asyncio.TaskGroup() as group:
        first = group.create_task(gateway.chat("hurry", headers=hurried, stream=stream))
        await until_callers(gateway, 1)
        patient = group.create_task(gateway.chat("hurry", stream=stream))
        await until_callers(gateway, 2)
        third = group.create_task(gateway.chat("hurry", headers=hurried, stream=stream))
        for late in (await first, await third):
            assert (late.status, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        gateway.provider.open_gate("answer")
    assert folded(patient.result()).text == "Hello there, bot."
    assert len(gateway.provider.requests) == 1


def _message(answer: Answer) -> str:
    message = answer.json()["error"]["message"]
    assert isinstance(message, str)
    return message
