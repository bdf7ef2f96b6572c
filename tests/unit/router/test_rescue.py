"""What a stream that breaks off after its first byte gets: somebody who goes on, or one clear error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from router.backends.openai_wire import OpenAIWire
from router.errors import AttemptsFailed
from router.types import AnswerEvent, Block, Finished, Opened
from tests.provider import Reply, ScriptedProvider
from tests.unit.router.attempts_bench import FAST, Bench, collect, text_of

WHOLE = "Hello there, bot."
CUT = Reply(fault="cut", after_events=3)
REFUSES_PREFILL = Reply(status=400, body='{"error": {"message": "assistant message cannot be last"}}')
DIFFERS = Reply(words=("Good", " day"))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    wire = OpenAIWire()
    async with ScriptedProvider() as provider:
        yield Bench(provider, wire)
        await wire.close()


def documents_of(events: list[AnswerEvent]) -> list[dict[str, object]]:
    wire = b"".join(event.data for event in events if isinstance(event, Block))
    return [json.loads(event.removeprefix(b"data: ")) for event in wire.split(b"\n\n") if event]


def last_of(events: list[AnswerEvent]) -> Finished:
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert sum(isinstance(event, Opened) for event in events) == 1
    return finished


@pytest.mark.parametrize(
    "broken",
    [CUT, Reply(fault="clean_cut", after_events=3), Reply(fault="stall", after_events=3), Reply(error_at=2)],
    ids=["cut", "clean cut", "stall", "error event"],
)
async def test_the_fallback_goes_on_where_it_says_the_same(bench: Bench, broken: Reply) -> None:
    bench.provider.script("a1", broken)
    events = await collect(bench.run("a", "b", stream=True, limits=FAST))
    finished = last_of(events)
    assert text_of(events) == WHOLE
    assert bench.tried()[1:] == [("b1", "resume", "ok")]
    assert (finished.response_model, finished.deployment.id, finished.finish_reasons) == ("b1", "b1", ("stop",))
    spoken = [str(document["model"]) for document in documents_of(events)]
    assert spoken == sorted(spoken)  # first a1's events, then b1's
    assert {spoken[0], spoken[-1]} == {"a1", "b1"}


async def test_usage_and_cost_count_every_leg_and_so_does_the_usage_event(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    finished = last_of(await collect(bench.run("a", "b", stream=True)))
    first, second = finished.attempts
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.is_estimated, first.usage.output_tokens) == (True, -(-len("Hello there") // 4))
    assert finished.usage.input_tokens == first.usage.input_tokens + 11
    assert finished.usage.output_tokens == first.usage.output_tokens + 4
    assert first.cost_nanousd is not None
    assert finished.cost_nanousd == first.cost_nanousd + 11 * 1_000 + 4 * 2_000
    assert finished.usage_event is not None
    stated = json.loads(finished.usage_event.removeprefix(b"data: "))["usage"]
    assert stated["total_tokens"] == finished.usage.input_tokens + finished.usage.output_tokens


async def test_a_single_model_is_asked_again(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    events = await collect(bench.run("a", stream=True))
    assert (text_of(events), bench.tried()) == (WHOLE, [("a1", "first", "cut"), ("a1", "resume", "ok")])


async def test_an_answer_that_differs_is_not_glued_on(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    bench.provider.always("b1", DIFFERS)
    events: list[AnswerEvent] = []
    with pytest.raises(AttemptsFailed) as caught:
        await collect(bench.run("a", "b", stream=True), events)
    assert (caught.value.error.kind, text_of(events)) == ("cut", "Hello there")
    assert bench.tried() == [("a1", "first", "cut"), ("b1", "resume", "cancelled")]
    assert not any(isinstance(event, Finished) for event in events)


@pytest.mark.parametrize("words", [("Hello",), ("Hello there, b",)], ids=["shorter", "shorter still than what came"])
async def test_an_answer_that_ends_before_what_was_sent_is_no_continuation(
    bench: Bench, words: tuple[str, ...]
) -> None:
    bench.provider.script("a1", Reply(fault="cut", after_events=4))
    bench.provider.always("b1", Reply(words=words))
    with pytest.raises(AttemptsFailed):
        await collect(bench.run("a", "b", stream=True))


async def test_a_model_that_takes_a_prefill_is_asked_to_continue(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    bench.provider.script("p1", Reply(words=(", friend", ".")))
    events = await collect(bench.run("a", "pre", stream=True, max_tokens=100))
    assert text_of(events) == "Hello there, friend."
    asked = bench.provider.requests[1].json()
    assert isinstance(asked["messages"], list)
    assert asked["messages"][-1] == {"role": "assistant", "content": "Hello there"}
    assert asked["max_tokens"] == 100 - len("Hello there") // 4


async def test_a_refused_prefill_is_followed_by_a_restart_and_never_seen(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    bench.provider.script("p1", REFUSES_PREFILL)
    events = await collect(bench.run("a", "pre", stream=True))
    assert text_of(events) == WHOLE
    assert bench.tried()[1:] == [("p1", "resume", "bad_request"), ("p1", "resume", "ok")]
    messages = bench.provider.requests[2].json()["messages"]
    assert isinstance(messages, list)
    assert messages[-1]["role"] == "user"


async def test_without_chance_a_restart_comes_first_and_a_prefill_after_it(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    bench.provider.script("p1", DIFFERS, Reply(words=("!",)))
    events = await collect(bench.run("a", "pre", stream=True, temperature=0))
    assert text_of(events) == "Hello there!"
    assert [record.reason for record in bench.journal] == ["first", "resume", "resume"]


async def test_where_nothing_helps_the_client_is_told_of_the_cut_and_not_of_the_attempts_to_mend_it(
    bench: Bench,
) -> None:
    bench.provider.script("a1", CUT)
    bench.provider.always("p1", REFUSES_PREFILL)
    bench.provider.always("b1", Reply(status=500))
    with pytest.raises(AttemptsFailed) as caught:
        await collect(bench.run("a", "pre", "b", stream=True))
    assert (caught.value.error.kind, caught.value.attempts) == ("cut", tuple(bench.journal))


async def test_a_stream_that_breaks_twice_is_mended_twice(bench: Bench) -> None:
    bench.provider.script("a1", CUT)
    bench.provider.script("b1", Reply(fault="cut", after_events=4))
    events = await collect(bench.run("a", "b", "two", stream=True))
    assert text_of(events) == WHOLE
    assert last_of(events).response_model == "t1"
    assert bench.tried() == [("a1", "first", "cut"), ("b1", "resume", "cut"), ("t1", "resume", "ok")]


async def test_a_tool_call_is_not_resumed(bench: Bench) -> None:
    bench.provider.script("a1", Reply(tool_arguments='{"city": "Bonn"}', fault="cut", after_events=3))
    with pytest.raises(AttemptsFailed):
        await collect(bench.run("a", "b", stream=True))
    assert bench.tried() == [("a1", "first", "cut")]


async def test_several_choices_are_not_resumed(bench: Bench) -> None:
    bench.provider.script("a1", Reply(fault="cut", after_events=6))
    with pytest.raises(AttemptsFailed):
        await collect(bench.run("a", "b", stream=True, n=2))
    assert bench.tried() == [("a1", "first", "cut")]


@pytest.mark.parametrize("broken", [CUT, Reply(fault="stall", after_events=3), Reply(error_at=2)])
async def test_held_nothing_goes_out_before_the_answer_is_complete(bench: Bench, broken: Reply) -> None:
    bench.provider.script("a1", broken, broken)
    events = await collect(bench.run("a", "b", stream=True, on_cut="hold", limits=FAST))
    assert [type(event) for event in events] == [Opened, Block, Finished]
    assert (text_of(events), last_of(events).response_model) == (WHOLE, "b1")
    assert {document["model"] for document in documents_of(events)} == {"b1"}


async def test_malformed_events_are_left_out_and_counted(bench: Bench) -> None:
    bench.provider.script("a1", Reply(malformed_at=2))
    events = await collect(bench.run("a", "b", stream=True))
    assert (text_of(events), last_of(events).malformed_events) == (WHOLE, 1)


async def test_a_stream_without_its_done_is_finished_at_once_with_its_usage(bench: Bench) -> None:
    bench.provider.script("a1", Reply(done=False, linger=True))
    limits = FAST.__class__(tail_s=20.0, drain_s=0.01)
    finished = last_of(await collect(bench.run("a", stream=True, limits=limits)))
    assert (finished.usage.output_tokens, finished.usage.is_estimated) == (4, False)
