"""An event loop that stands still while a wait comes to its end, as a busy host or a garbage collection makes it do."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AbstractContextManager

STOOD_S = 0.06


def stand_still() -> None:
    """Let nobody else have a turn for `STOOD_S`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + STOOD_S
    while loop.time() < until:
        pass


async def read_meanwhile(wait: AbstractContextManager[None]) -> bytes:
    """Return what is read within `wait`, which is over while the loop stands still, of a byte that comes meanwhile."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)

    async def read() -> bytes:
        with wait:
            return await reader.read(1)

    with theirs:
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(read())
                await asyncio.sleep(0)
                theirs.send(b"x")
                stand_still()
        finally:
            writer.close()
    await writer.wait_closed()
    return reading.result()


async def wait_meanwhile(wait: AbstractContextManager[None]) -> None:
    """Wait within `wait`, which is over while the loop stands still, for what never comes."""
    asyncio.get_running_loop().call_soon(stand_still)
    with wait:
        await asyncio.Event().wait()
