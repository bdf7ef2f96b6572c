"""Reading a stream that is alive and yet gives nothing: the throughput floor, and the bound on what is held."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from router.deadlines import Deadlines, Limits
from router.errors import ProviderError
from router.leg import Leg
from router.reading import Reading
from router.types import Call, ChatRequest, Deployment, Streamed
from tests.unit.router.attempts_bench import SteppedClock

REQUEST = ChatRequest(dialect="chat", body=b"{}", document={}, requested_model="m", stream=True, include_usage=False)
DEPLOYMENT = Deployment(
    id="d", group="g", provider="p", model="m", backend="openai_wire", api_base="", secret="", price=None
)


class Slow:
    """A backend whose endless answer says `text` every `every_s` of the clock."""

    def __init__(self, clock: SteppedClock, text: str, every_s: float) -> None:
        self._clock, self._every_s = clock, every_s
        said = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        self._event = b"data: " + json.dumps(said).encode() + b"\n\n"

    async def send(self, call: Call) -> Streamed:
        return Streamed(chunks=self._chunks(), headers={})

    async def close(self) -> None:
        return

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            self._clock.now_s += self._every_s
            yield self._event


async def opened(text: str, every_s: float, limits: Limits) -> tuple[Reading, Leg, SteppedClock]:
    clock = SteppedClock()
    reading = Reading({"openai_wire": Slow(clock, text, every_s)}, clock, limits, Deadlines(limits))
    leg = Leg(DEPLOYMENT, "first", REQUEST, clock.now_s, gap_s=20.0)
    call = Call(request=REQUEST, deployment=DEPLOYMENT, stream=True, max_output_tokens=None, traceparent=None)
    await reading.open(leg, call, is_last=True)
    return reading, leg, clock


async def read(reading: Reading, leg: Leg, times: int) -> None:
    for _ in range(times):
        await reading.next(leg)


async def test_a_stream_that_drips_is_given_up_after_its_window() -> None:
    reading, leg, clock = await opened("a", 10.0, Limits())
    begun_s = clock.now_s
    with pytest.raises(ProviderError) as caught:
        await read(reading, leg, 100)
    await leg.close()
    assert (caught.value.kind, caught.value.source) == ("timeout", "gateway")
    assert clock.now_s - begun_s <= 60.0


async def test_a_slow_stream_and_a_slow_reader_are_left_alone() -> None:
    reading, leg, clock = await opened("twenty letters long.", 10.0, Limits())
    for _ in range(50):
        await reading.next(leg)
        clock.now_s += 100.0  # the client's own time
    await leg.close()


async def test_what_is_held_is_bounded() -> None:
    reading, leg, _ = await opened("x" * 1000, 0.0, Limits(max_held_bytes=10_000))
    with pytest.raises(ProviderError) as caught:
        await reading.hold_all(leg)
    await leg.close()
    assert caught.value.kind == "malformed"
    assert leg.held_bytes < 12_000
