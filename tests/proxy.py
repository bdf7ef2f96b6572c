"""A TCP port that passes bytes to a unix socket late and in pieces, as bad networks do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit


class DelayingProxy:
    """Delays every piece by up to `delay_s` and cuts it anywhere; `silent` swallows answers instead, `says` is the
    answer to everything."""

    def __init__(self, target_url: str, *, rng: random.Random, delay_s: float) -> None:
        self._path = unquote(urlsplit(target_url).path)
        self._rng = rng
        self.delay_s = delay_s
        self.silent = False
        self.says = b""
        self.connections = 0
        self.passed_on = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        self._is_idle.clear()
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self._path)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, up_writer))
                    both.create_task(self._pass_on(up_reader, writer, is_answer=True))
            finally:
                up_writer.close()
        except* OSError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            if not self._writers:
                self._is_idle.set()

    def drop_all(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self._is_idle.wait()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        while data := await reader.read(4096):
            if self.says:
                data = self.says if is_answer else data
            while data:
                size = self._rng.randint(1, len(data))
                await asyncio.sleep(self._rng.random() * self.delay_s)
                if not (is_answer and self.silent):
                    writer.write(data[:size])
                self.passed_on += not is_answer
                data = data[size:]
        writer.close()


@asynccontextmanager
async def delaying_proxy(target_url: str, *, seed: int, delay_s: float) -> AsyncIterator[DelayingProxy]:
    proxy = DelayingProxy(target_url, rng=random.Random(seed), delay_s=delay_s)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
        await proxy.close()
