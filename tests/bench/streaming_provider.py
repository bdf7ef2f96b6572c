"""A provider on a raw asyncio protocol that answers at once, streams at full speed, or at a pace (see large.py).

A process of its own. Must not parse more of a request than its length and its model.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final, Protocol, runtime_checkable

LONG_EVENTS: Final = 200_000
PACED_EVENTS: Final = 200
PACE_S: Final = 0.05
BATCH: Final = 64
"""Events written between two looks at whether the reader keeps up."""

_EVENT = (
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":1767225600,"model":"up",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
_LAST = (
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":1767225600,"model":"up",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":1767225600,"model":"up","choices":[],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'
)
_WHOLE = (
    b'{"id":"c-1","object":"chat.completion","created":1767225600,"model":"up","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Short."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}'
)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@runtime_checkable
class Wire(Protocol):
    """What is used of a transport; uvloop's are no asyncio.Transport."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Answering(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._transport: Wire | None = None
        self._left = 0
        self._sent = 0
        self._pace_s = 0.0
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Wire)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if not self._pace_s:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        length = _LENGTH.search(self._got, 0, head + 2) if head >= 0 else None
        if length is None or len(self._got) < head + 4 + int(length[1]):
            return
        body = bytes(self._got[head + 4 :])
        self._got.clear()
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        transport = self._transport
        assert transport is not None
        if b'"up-plain"' in body:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_WHOLE)
            transport.write(head + _WHOLE)
            return
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        is_long = b'"up-long"' in body
        self._sent = self._left = LONG_EVENTS if is_long else PACED_EVENTS
        self._pace_s = 0.0 if is_long else PACE_S
        self._go_on()

    def _go_on(self) -> None:
        transport, loop = self._transport, asyncio.get_running_loop()
        while transport is not None and self._left and not self._is_paused:
            size = 1 if self._pace_s else min(BATCH, self._left)
            self._left -= size
            transport.write(chunk(_EVENT) * size)
            if self._left and self._pace_s:
                loop.call_later(self._pace_s, self._go_on)
                return
        if transport is not None and not self._left and self._sent:
            transport.write(chunk(_LAST % (self._sent, self._sent + 10)) + b"0\r\n\r\n")
            self._sent = 0


async def main() -> None:
    """Serve until killed; prints the port."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
