"""SIGTERM at the real process: open streams end as they should, and whoever asks twice gets his way."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.e2e.serving import BOUND_S, is_refused, until
from tests.faults.row import OPENAI_TEXT
from tests.faults.running import Faulty, Got, faulty_gateway
from tests.provider import Reply

STREAMS = 200


@pytest.fixture
async def faulty() -> AsyncIterator[Faulty]:
    # 200 streams connect at once, to a provider in this very process: its limits are not what is tried here.
    patient = ("--drain-s=30", "--gap-timeout-s=30", "--first-token-timeout-s=30", "--drip-bytes-per-s=0")
    async with faulty_gateway(["plain"], options=(*patient, "--connect-timeout-s=30")) as running:
        yield running


async def open_stream(faulty: Faulty, number: int) -> aiohttp.ClientResponse:
    """Start a stream of its own and return once it has begun."""
    message = {"role": "user", "content": f"stream {number}"}
    body = {"model": "o-plain", "stream": True, "messages": [message]}
    return await faulty.session.post(faulty.served.url + "/v1/chat/completions", json=body)


async def test_sigterm_during_200_open_streams_loses_none_of_them(faulty: Faulty) -> None:
    """Told three times within moments, as tools do that signal a group and its leader."""
    faulty.openai.always("up-plain", Reply(gate="rest", gate_at=3))
    process = faulty.served.process
    assert process is not None
    opened = await asyncio.gather(*(open_stream(faulty, number) for number in range(STREAMS)))
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(until, lambda: is_refused(faulty.served.url), "the end of new connections")
    assert process.poll() is None
    faulty.openai.open_gate("rest")
    bodies = await asyncio.gather(*(answer.read() for answer in opened))
    for answer, body in zip(opened, bodies, strict=True):
        got = Got(status=answer.status, headers=answer.headers, body=body)
        assert (got.is_complete, got.text) == (True, OPENAI_TEXT), got.error
    assert await asyncio.to_thread(process.wait, BOUND_S) == 0
    assert len(faulty.openai.requests) == STREAMS


async def test_a_second_sigterm_ends_at_once(faulty: Faulty) -> None:
    faulty.openai.always("up-plain", Reply(gate="never", gate_at=3))
    process = faulty.served.process
    assert process is not None

    def ended() -> bool:
        process.send_signal(signal.SIGTERM)
        return process.poll() is not None

    answer = await open_stream(faulty, 0)
    await asyncio.to_thread(until, ended, "the end, long before the drain time's")
    assert process.returncode != 0
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
