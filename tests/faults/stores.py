"""A Redis of a test's own to stop, fill and kill, beside the shared one. No product code but the server's starter."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway.stores.embedded import EmbeddedRedis


@contextmanager
def own_redis() -> Iterator[EmbeddedRedis]:
    """Start a redis-server; end it, even one that was stopped."""
    # Not pytest's tmp_path: a unix socket's path may have 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="fw-") as directory:
        server = EmbeddedRedis.start(Path(directory))
        try:
            yield server
        finally:
            if server.is_running():
                os.kill(server.pid, signal.SIGCONT)
            server.stop()


async def told(server: EmbeddedRedis, *words: str) -> str:
    """Send one command on a connection of its own and return the reply's first line; words hold no space."""
    reader, writer = await asyncio.open_unix_connection(unquote(urlsplit(server.url).path))
    writer.write(" ".join(words).encode() + b"\r\n")
    reply = (await reader.readline()).decode().strip()
    writer.close()
    return reply


@asynccontextmanager
async def hung(server: EmbeddedRedis) -> AsyncIterator[None]:
    """Stop the server's process: it accepts, and never answers."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def kill(server: EmbeddedRedis) -> None:
    """End the server without a word and wait until it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while server.is_running():  # noqa: ASYNC110 - another process sends no event
            await asyncio.sleep(0.005)
