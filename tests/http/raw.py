"""HTTP by hand: bytes as they are toward a gateway, for what no client library would send. No product code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.http.running import Answer, Gateway

LIMIT_S = 10


@dataclass(slots=True, kw_only=True)
class Wire:
    """One connection to a gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write bytes; a gateway that has closed already is no error, its answer may still be readable."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return

    async def answer(self) -> Answer:
        """Read one answer with a Content-Length; TimeoutError after 10 s."""
        async with asyncio.timeout(LIMIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self.reader.readexactly(int(headers["Content-Length"]))
        return Answer(status=int(first.split()[1]), headers=headers, body=body)

    async def rest(self) -> bytes:
        """Return everything until the gateway closes; TimeoutError after 10 s."""
        async with asyncio.timeout(LIMIT_S):
            return await self.reader.read()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """Open a connection to `url`, and close it."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Wire(reader=reader, writer=writer)
    finally:
        writer.transport.abort()


async def exchange(url: str, data: bytes) -> Answer:
    """Send `data` on a connection of its own and return the first answer."""
    async with wire_to(url) as wire:
        await wire.send(data)
        return await wire.answer()


def head(gateway: Gateway, *lines: str, method: str = "POST", path: str = "/v1/chat/completions") -> bytes:
    """Return a request's head with the gateway's key; `lines` are further header lines."""
    fixed = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {gateway.key}")
    return "\r\n".join((*fixed, *lines, "", "")).encode("latin-1")
