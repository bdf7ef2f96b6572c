"""What each fault of a provider gets, against a scripted provider on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from router.backends.openai_wire import OpenAIWire
from router.errors import AttemptsFailed, ProviderError
from router.steps import next_step
from router.types import AnswerEvent, Block, Finished, Opened, Usage
from tests.provider import Reply, ScriptedProvider
from tests.unit.router.attempts_bench import CALM, FAST, Bench, answer, collect, failure, text_of


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    wire = OpenAIWire()
    async with ScriptedProvider() as provider:
        yield Bench(provider, wire)
        await wire.close()


async def test_a_whole_answer_is_one_event_with_usage_and_cost(bench: Bench) -> None:
    events = await collect(bench.run("a"))
    assert len(events) == 1
    finished = events[0]
    assert isinstance(finished, Finished)
    assert finished.body is not None
    assert json.loads(finished.body)["choices"][0]["message"]["content"] == "Hello there, bot."
    assert finished.usage == Usage(input_tokens=11, output_tokens=4)
    assert finished.cost_nanousd == 11 * 1_000 + 4 * 2_000
    assert (finished.response_model, finished.finish_reasons) == ("a1", ("stop",))
    assert bench.tried() == [("a1", "first", "ok")]
    assert bench.table.reports == [("a1", "ok")]


async def test_a_stream_is_opened_at_its_first_token_and_finished_with_usage(bench: Bench) -> None:
    events = await collect(bench.run("a", stream=True))
    assert isinstance(events[0], Opened)
    assert text_of(events) == "Hello there, bot."
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.body, finished.usage) == (None, Usage(input_tokens=11, output_tokens=4))
    assert finished.usage_event is not None
    assert finished.usage_event.endswith(b"\n\n")
    assert not any(b"[DONE]" in event.data or event.data == b"" for event in events if isinstance(event, Block))


async def test_the_connection_of_a_finished_stream_is_used_again(bench: Bench) -> None:
    bench.provider.always("a1", Reply(end_delay_s=0.02))
    for _ in range(3):
        await collect(bench.run("a", stream=True))
    assert bench.provider.connections == 1


FAULTS = [
    pytest.param(Reply(status=500), "server_error", "retry", id="500"),
    pytest.param(Reply(fault="reset"), "connect", "retry", id="reset before headers"),
    pytest.param(
        Reply(status=429, headers={"Retry-After": "1"}), "rate_limited", "retry", id="429 that can be waited for"
    ),
    pytest.param(Reply(status=503), "overloaded", "retry", id="503"),
    pytest.param(Reply(body='{"error": {"message": "x"}}'), "server_error", "retry", id="error in a 200 body"),
    pytest.param(Reply(status=429, headers={"Retry-After": "9"}), "rate_limited", "next", id="429 for too long"),
    pytest.param(
        Reply(status=429, body='{"error": {"message": "x", "code": "insufficient_quota"}}'),
        "rate_limited",
        "next",
        id="quota used up",
    ),
    pytest.param(Reply(status=401), "auth", "next", id="401"),
    pytest.param(Reply(status=404), "not_found", "next", id="404"),
    pytest.param(Reply(status=302, headers={"Location": "http://127.0.0.1:1/"}), "server_error", "next", id="redirect"),
    pytest.param(Reply(fault="silent"), "timeout", "next", id="silent"),
    pytest.param(Reply(fault="headers_only"), "timeout", "next", id="headers only"),
    pytest.param(Reply(body="<html>"), "malformed", "next", id="no JSON"),
    pytest.param(
        Reply(status=400, body='{"error": {"message": "x", "code": "context_length_exceeded"}}'),
        "context_length",
        "next",
        id="too long",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reply", "kind", "follows"), FAULTS)
async def test_before_the_first_token_a_fault_gets_its_retry_or_the_fallback(
    bench: Bench, reply: Reply, kind: str, follows: str, stream: bool
) -> None:
    if stream and reply.body == "<html>":
        reply = Reply(words=(), fault="clean_cut", after_events=0, gate_at=0)
        kind, follows = "cut", "retry"
    bench.provider.script("a1", reply)
    limits = FAST if kind == "timeout" else CALM
    events = await collect(bench.run("a", "b", stream=stream, limits=limits))
    second = ("a1", "retry", "ok") if follows == "retry" else ("b1", "fallback", "ok")
    assert bench.tried() == [("a1", "first", kind), second]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.attempts == tuple(bench.journal)
    assert finished.response_model == second[0]
    assert bench.table.reports == [*([] if kind == "context_length" else [("a1", kind)]), (second[0], "ok")]


async def test_a_persistent_fault_is_tried_twice_and_then_left(bench: Bench) -> None:
    bench.provider.always("a1", Reply(status=500))
    await answer(bench.run("a", "b"))
    assert bench.tried() == [("a1", "first", "server_error"), ("a1", "retry", "server_error"), ("b1", "fallback", "ok")]


async def test_the_retry_goes_to_another_deployment_of_the_group_where_there_is_one(bench: Bench) -> None:
    bench.provider.script("t1", Reply(status=429, headers={"Retry-After": "60"}))
    await answer(bench.run("two", "b"))
    assert bench.tried() == [("t1", "first", "rate_limited"), ("t2", "retry", "ok")]
    assert max(bench.clock.slept) < 1


async def test_with_nowhere_else_to_go_retry_after_is_waited_for_while_the_deadline_allows(bench: Bench) -> None:
    bench.provider.script("a1", Reply(status=429, headers={"Retry-After": "20"}))
    await answer(bench.run("a"))
    assert 20 <= bench.clock.slept[0] <= 20.25
    bench.provider.script("a1", Reply(status=429, headers={"Retry-After": "45"}))
    failed = await failure(bench.run("a"))
    assert (failed.error.kind, failed.error.status, failed.error.retry_after_s) == ("rate_limited", 429, 45)
    assert len(bench.clock.slept) == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"error": {"message": "temperature must be <= 2", "param": "temperature"}}', "bad_request"),
        ('{"error": {"message": "flagged", "code": "content_policy_violation"}}', "content_policy"),
    ],
)
async def test_what_the_request_is_to_blame_for_ends_it_and_cools_nobody(bench: Bench, body: str, kind: str) -> None:
    bench.provider.script("a1", Reply(status=400, body=body))
    failed = await failure(bench.run("a", "b"))
    assert failed.error.kind == kind
    assert failed.attempts == tuple(bench.journal)
    assert bench.tried() == [("a1", "first", kind)]
    assert bench.table.reports == []


async def test_a_group_without_a_deployment_is_passed_over(bench: Bench) -> None:
    await answer(bench.run("gone", "b"))
    assert bench.tried() == [("b1", "fallback", "ok")]
    failed = await failure(bench.run("gone"))
    assert (failed.error.kind, failed.error.source, failed.error.retry_after_s) == ("overloaded", "gateway", 3.0)


async def test_a_providers_words_are_shown_before_a_missing_deployment(bench: Bench) -> None:
    bench.provider.script("a1", Reply(status=401))
    assert (await failure(bench.run("a", "gone"))).error.kind == "auth"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(fault="cut"), "cut"),
        (Reply(fault="clean_cut"), "cut"),
        (Reply(fault="stall"), "timeout"),
        (Reply(error_at=1), "server_error"),
        (Reply(fault="stall", comments=True, after_events=5), "timeout"),
    ],
    ids=["cut", "clean cut", "stall", "error event", "heartbeats and then a stall"],
)
async def test_after_the_first_token_a_fault_ends_the_run_and_never_looks_complete(
    bench: Bench, reply: Reply, kind: str
) -> None:
    bench.provider.script("a1", reply)
    limits = FAST if kind == "timeout" else CALM
    events: list[AnswerEvent] = []
    with pytest.raises(AttemptsFailed) as caught:
        await collect(bench.run("a", "b", stream=True, limits=limits, on_cut="error"), events)
    assert caught.value.error.kind == kind
    assert isinstance(events[0], Opened)
    assert text_of(events).startswith("Hello")
    assert not any(isinstance(event, Finished) for event in events)
    assert bench.tried() == [("a1", "first", kind)]
    assert bench.table.reports == [("a1", kind)]


@pytest.mark.parametrize("reply", [Reply(fault="cut"), Reply(fault="stall"), Reply(error_at=1)])
async def test_an_assembled_answer_can_move_on_after_the_first_token(bench: Bench, reply: Reply) -> None:
    bench.provider.script("a1", reply, reply)
    events = await collect(bench.run("a", "b", assemble=True, limits=FAST))
    assert [type(event) for event in events] == [Opened, Block, Finished]
    assert text_of(events) == "Hello there, bot."
    assert bench.tried()[-1] == ("b1", "fallback", "ok")
    assert bench.provider.requests[0].json()["stream"] is True


@pytest.mark.parametrize("reply", [Reply(fault="silent"), Reply(fault="headers_only")])
async def test_a_cancelled_run_hangs_up_and_writes_the_attempt_down(bench: Bench, reply: Reply) -> None:
    bench.provider.script("a1", reply)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(collect(bench.run("a", "b", stream=True)))
        await bench.provider.wait_for_requests(1)
        run.cancel()
    await bench.provider.wait_for_hang_up()
    assert bench.tried() == [("a1", "first", "cancelled")]
    assert bench.table.reports == []


async def test_closing_a_stream_in_the_middle_hangs_up(bench: Bench) -> None:
    bench.provider.script("a1", Reply(fault="endless"))
    async with aclosing(bench.run("a", stream=True)) as running:
        async for event in running:
            if isinstance(event, Block):
                break
    await bench.provider.wait_for_hang_up()
    assert bench.tried() == [("a1", "first", "cancelled")]


async def test_leaving_after_the_finish_reason_is_a_success(bench: Bench) -> None:
    bench.provider.script("a1", Reply(done=False, usage_in_last=True, linger=True))
    async with aclosing(bench.run("a", stream=True)) as running:
        async for event in running:
            if isinstance(event, Block) and b'"finish_reason": "stop"' in event.data:
                break
    assert bench.tried() == [("a1", "first", "ok")]
    assert bench.table.reports == [("a1", "ok")]


async def test_the_callers_deadline_ends_a_run_at_any_point(bench: Bench) -> None:
    bench.provider.script("a1", Reply(fault="stall"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await collect(bench.run("a", stream=True))
    assert bench.tried() == [("a1", "first", "cancelled")]


def test_no_kind_of_error_is_retried_twice() -> None:
    error = ProviderError("x", kind="server_error", source="provider")
    assert next_step(error, is_retry=False) == "retry"
    assert next_step(error, is_retry=True) == "next"
