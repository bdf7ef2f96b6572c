"""Every way in which providers write a good answer is a good answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from router.backends.openai_wire import OpenAIWire
from router.errors import AttemptsFailed
from router.types import Finished, Usage
from tests.provider import Reply, ScriptedProvider
from tests.unit.router.attempts_bench import FAST, Bench, answer, collect, text_of


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    wire = OpenAIWire()
    async with ScriptedProvider() as provider:
        yield Bench(provider, wire)
        await wire.close()


async def test_a_malformed_event_is_skipped_and_the_stream_goes_on(bench: Bench) -> None:
    bench.provider.script("a1", Reply(malformed_at=2))
    assert text_of(await collect(bench.run("a", stream=True))) == "Hello there, bot."


@pytest.mark.parametrize(
    "reply",
    [
        Reply(done=False),
        Reply(crlf=True),
        Reply(comments=True),
        Reply(piece_bytes=3),
        Reply(usage_in_last=True),
        Reply(usage_in_last=True, done=False, linger=True),
        Reply(linger=True),
    ],
    ids=[
        "no DONE",
        "CRLF",
        "comments",
        "cut anywhere",
        "usage in last",
        "stays after the last event",
        "stays after DONE",
    ],
)
async def test_every_way_to_write_a_good_stream_is_a_good_stream(bench: Bench, reply: Reply) -> None:
    bench.provider.script("a1", reply)
    events = await collect(bench.run("a", stream=True, n=2, limits=FAST))
    assert text_of(events) == "".join(word * 2 for word in Reply().words)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.finish_reasons == ("stop", "stop")
    assert finished.usage == Usage(input_tokens=11, output_tokens=4)
    assert bench.tried() == [("a1", "first", "ok")]


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_the_provider_does_not_state_is_estimated(bench: Bench, stream: bool) -> None:
    bench.provider.script("a1", Reply(usage=None))
    finished = await answer(bench.run("a", stream=stream))
    assert finished.usage == Usage(input_tokens=1, output_tokens=5, is_estimated=True)


async def test_a_whole_answer_to_a_streamed_call_is_handed_on_as_it_is(bench: Bench) -> None:
    bench.provider.script("a1", Reply(whole=True))
    events = await collect(bench.run("a", stream=True))
    assert [type(event) for event in events] == [Finished]
    assert isinstance(events[0], Finished)
    assert events[0].body is not None


@pytest.mark.parametrize(
    ("reply", "stream", "is_paid"),
    [
        (Reply(fault="silent"), True, True),
        (Reply(fault="silent"), False, True),
        (Reply(fault="headers_only"), True, True),
        (Reply(fault="cut", after_events=0), True, True),
        (Reply(fault="cut"), False, True),
        (Reply(fault="reset"), True, False),
        (Reply(status=504), True, False),
        (Reply(status=429), False, False),
        (Reply(error_at=0), True, False),
    ],
)
async def test_what_was_accepted_costs_its_prompt_and_what_was_refused_nothing(
    bench: Bench, reply: Reply, stream: bool, is_paid: bool
) -> None:
    bench.provider.always("a1", reply)
    with pytest.raises(AttemptsFailed):
        await collect(bench.run("a", stream=stream, limits=FAST))
    usage = Usage(input_tokens=1, is_estimated=True) if is_paid else None
    assert {(attempt.usage, attempt.cost_nanousd) for attempt in bench.journal} == {(usage, 1_000 if is_paid else 0)}
