"""A provider that is not the bottleneck: OpenAI-shaped answers made beforehand, over bare sockets.

`python -m tests.bench.upstream` prints its port. A model whose name begins with `up-5` or `up-4` gets that status; a
prompt of a pipeline's step gets JSON that no step can use, as from a model that will not obey. Counts nothing.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

from tests.bench.payloads import chat_answer, events

GAP_S = 0.002
"""Between two events of a stream; streams share one ticker, so that the provider wakes once for all of them."""
_LENGTH = re.compile(rb"content-length: *(\d+)")
_FAILING = re.compile(rb'"model":"up-([45]\d\d)')


def _whole(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-request-id: req_bench\r\n\r\n"
    return head % (status, len(body)) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


ANSWER = _whole(b"200 OK", chat_answer())
FAILURE = b'{"error":{"message":"as asked","type":"server_error","param":null,"code":null}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = (*map(_chunk, events()[:-1]), _chunk(events()[-1]) + b"0\r\n\r\n")


class Ticker:
    """Sends one event to every open stream every GAP_S, and sleeps while there is none."""

    def __init__(self) -> None:
        self._open: dict[Connection, int] = {}
        self._is_running = False

    def add(self, connection: Connection) -> None:
        """Begin a stream: its head and first event at once."""
        connection.write(HEAD + CHUNKS[0])
        self._open[connection] = 1
        if not self._is_running:
            self._is_running = True
            asyncio.get_running_loop().call_later(GAP_S, self._tick)

    def drop(self, connection: Connection) -> None:
        """Forget a stream whose reader has left."""
        self._open.pop(connection, None)

    def _tick(self) -> None:
        for connection, sent in list(self._open.items()):
            connection.write(CHUNKS[sent])
            if sent + 1 < len(CHUNKS):
                self._open[connection] = sent + 1
            else:
                del self._open[connection]
        self._is_running = bool(self._open)
        if self._is_running:
            asyncio.get_running_loop().call_later(GAP_S, self._tick)


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, which is none of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self._ticker.drop(self)
        self._transport = None

    def write(self, data: bytes) -> None:
        """Send, unless the reader has left."""
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        end = held.find(b"\r\n\r\n")
        found = _LENGTH.search(held[:end].lower()) if end >= 0 else None
        if end >= 0 and found is None:
            is_post = held.startswith(b"POST")
            self.write(_whole(b"411 Length Required" if is_post else b"200 OK", b"{}"))
            self._held = b""
            return
        if found is None or len(held) < end + 4 + int(found[1]):
            self._held = held
            return
        self._held = b""
        self._answer(held[end + 4 :])

    def _answer(self, body: bytes) -> None:
        failing = _FAILING.search(body, 0, 200)
        if failing is not None:
            self.write(_whole(failing[1] + b" As Asked", FAILURE))
        elif b'"stream":true' in body or b'"stream": true' in body:
            self._ticker.add(self)
        else:
            self.write(ANSWER)


async def serve() -> None:
    """Serve until killed."""
    loop, ticker = asyncio.get_running_loop(), Ticker()
    server = await loop.create_server(lambda: Connection(ticker), "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
