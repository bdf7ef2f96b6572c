"""A client that does not read is not read for: the provider stops, and so does what the gateway holds."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from gateway.cache.flight import UNREAD_LIMIT_BYTES
from tests.http.conftest import StartGateway
from tests.http.folding import until_callers
from tests.http.raw import head
from tests.http.running import Gateway
from tests.provider import Reply

ENDLESS = Reply(fault="endless", huge_bytes=32 * 1024)
READ_BYTES = 40 * 1024
MOST_HELD_BYTES = UNREAD_LIMIT_BYTES + 512 * 1024
"""The last piece comes as large as the HTTP client has gathered it."""


@asynccontextmanager
async def streaming(gateway: Gateway, text: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for a stream over a connection that takes little before it is read."""
    message = {"role": "user", "content": text}
    body = json.dumps({"model": "small", "stream": True, "messages": [message]}).encode()
    parts = urlsplit(gateway.url)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, (parts.hostname, parts.port))
    reader, writer = await asyncio.open_connection(sock=small)
    try:
        writer.write(head(gateway, "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
        yield reader
    finally:
        writer.transport.abort()


async def until_still(figure: Callable[[], int]) -> int:
    """Return the figure once it is above 0 and has not changed for many turns of the loop; TimeoutError after 30 s."""
    async with asyncio.timeout(30):
        before, turns = 0, 0
        while turns < 2_000:
            await asyncio.sleep(0)
            turns = turns + 1 if figure() == before > 0 else 0
            before = figure()
    return before


def held_bytes(gateway: Gateway) -> int:
    """What the one call in flight holds of its answer that nobody has read."""
    [flight] = gateway.worker.inflight.flights
    return flight.unread_bytes


async def test_a_client_that_stops_reading_stops_the_provider_and_reading_on_wakes_it(gateway: Gateway) -> None:
    gateway.provider.script("up-small", ENDLESS)
    async with streaming(gateway, "slow") as reader:
        await gateway.provider.wait_for_requests(1)
        [seen] = gateway.provider.requests
        stopped_at = await until_still(lambda: seen.streamed_bytes)
        assert UNREAD_LIMIT_BYTES <= held_bytes(gateway) <= MOST_HELD_BYTES
        read = 0
        while read < 2 * stopped_at:
            read += len(await reader.read(READ_BYTES))
        again = await until_still(lambda: seen.streamed_bytes)
        assert again >= read, "what was read must have been written"
        assert held_bytes(gateway) <= MOST_HELD_BYTES
    await gateway.provider.wait_for_hang_up()


async def test_one_client_that_does_not_read_holds_up_no_other(gateway: Gateway) -> None:
    gateway.provider.script("up-small", ENDLESS)
    async with streaming(gateway, "shared"):
        await gateway.provider.wait_for_requests(1)
        [seen] = gateway.provider.requests
        stopped_at = await until_still(lambda: seen.streamed_bytes)
        async with streaming(gateway, "shared") as reader:
            read = 0
            while read < 2 * stopped_at:
                read += len(await reader.read(READ_BYTES))
        assert len(gateway.provider.requests) == 1


async def test_an_endless_answer_is_refused_at_once_to_a_caller_who_wants_it_whole(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_answer_bytes=str(2 * UNREAD_LIMIT_BYTES))
    gateway.provider.script("up-small", ENDLESS)
    async with streaming(gateway, "endless") as reader:
        await until_callers(gateway, 1)
        async with asyncio.TaskGroup() as tasks:
            whole = tasks.create_task(gateway.chat("endless"))
            await until_callers(gateway, 2)
            while not whole.done():
                await reader.read(READ_BYTES)
        answer = whole.result()
    assert (answer.status, answer.json()["error"]["code"]) == (502, "answer_too_large")
    await gateway.provider.wait_for_hang_up()
