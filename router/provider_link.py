"""HTTP/1.1 to one provider over aiohttp's connection pool and parser, without its client session.

ClientSession.post takes 140 us of CPU a call, two thirds of them for what never changes between two calls to the same
place: the URL, the headers, the cookie jar, middlewares and redirects (deploy/adr/0006). Here the head is made once.
Must not follow a redirect, retry, or read a proxy or cookie; bound to the pinned aiohttp, as gateway/http/server.py is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

_ONE_WRITE_BYTES: Final = 65_536
_BREAKS: Final = re.compile(r"[\r\n\0]")


class Target:
    """Where calls go: the bytes of the request's head, and what the pool tells connections apart by."""

    __slots__ = ("head", "place")

    def __init__(self, url: str, headers: Mapping[str, str], *, loop: asyncio.AbstractEventLoop) -> None:
        self.place = aiohttp.ClientRequest("POST", URL(url), headers=headers, data=b"-", loop=loop)
        lines = [f"{name}: {value}" for name, value in self.place.headers.items() if name.lower() != "content-length"]
        if any(_BREAKS.search(line) for line in lines):
            raise ValueError("a header of the deployment holds a line break: must be one line")
        start = f"POST {self.place.url.raw_path_qs} HTTP/1.1"
        self.head = "\r\n".join((start, *lines, "Content-Length: ")).encode()


class Answer:
    """A response whose head is there. `content` is its body as it comes; `close` when done with it."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self,
        connection: aiohttp.connector.Connection,
        status: int,
        headers: Mapping[str, str],
        content: aiohttp.StreamReader,
    ) -> None:
        self._connection = connection
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def content_type(self) -> str:
        """The media type in lower case, "" where none is given."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def close(self) -> None:
        """Give the connection back where the body was read to its end, drop it otherwise; idempotent."""
        transport = self._connection.transport
        if transport is not None and transport.get_write_buffer_size():
            self._connection.close()  # answered before it had the whole request
        else:
            self._connection.release()


class ProviderLink:
    """The pool of one backend. Made in the loop that uses it; `connect_s` bounds waiting for a connection and making
    one."""

    def __init__(self, *, connect_s: float, max_connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = aiohttp.TCPConnector(limit=max_connections)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)

    def target(self, url: str, headers: Mapping[str, str]) -> Target:
        """Prepare calls to `url`. Raises ValueError for headers that cannot be sent."""
        return Target(url, headers, loop=self._loop)

    async def post(self, target: Target, body: bytes, *, traceparent: str | None) -> Answer:
        """Send, and return once the head of the answer is there. Raises aiohttp.ClientError and OSError.

        A cancelled call drops its connection. `traceparent` must be well-formed.
        """
        try:
            connection = await self._pool.connect(target.place, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection") from error
        try:
            return await self._exchange(connection, target, body, traceparent)
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Close all connections; idempotent."""
        await self._pool.close()

    async def _exchange(
        self, connection: aiohttp.connector.Connection, target: Target, body: bytes, traceparent: str | None
    ) -> Answer:
        protocol = connection.protocol
        if protocol is None or protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True)
        trace = b"" if traceparent is None else b"\r\ntraceparent: " + traceparent.encode()
        head = b"%b%d%b\r\n\r\n" % (target.head, len(body), trace)
        if len(body) < _ONE_WRITE_BYTES:
            protocol.transport.write(head + body)
        else:
            protocol.transport.writelines((head, body))
        while True:
            try:
                message, content = await protocol.read()
            except HttpProcessingError as error:
                raise aiohttp.ClientPayloadError("not HTTP") from error
            if message.code >= 200 or message.code == 101:
                return Answer(connection, message.code, message.headers, content)
