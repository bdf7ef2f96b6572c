"""What has come of a body, taken without aiohttp's flow control where that has nothing to do.

`StreamReader` takes 5 us among other work for every piece, nearly all of it to resume reading that was never paused: a
tenth of what a stream costs. Bound to the pinned aiohttp, as router/provider_link.py is; imports nothing of it.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

_UNPAUSED_BYTES = 65_536
"""aiohttp's low-water mark: of a body below it, reading was never paused."""


class Flow(Protocol):
    """What is used of the connection: whether it was told to wait, for the reader's sake or for what is unparsed."""

    @property
    def _reading_paused(self) -> bool: ...

    @property
    def _buffer_paused(self) -> bool: ...


class Content(Protocol):
    """What is used of aiohttp's StreamReader, whose empty one has no buffer at all."""

    total_bytes: int
    _buffer: deque[bytes]
    _buffer_offset: int
    _cursor: int
    _http_chunk_splits: deque[int] | None
    _size: int

    @property
    def _protocol(self) -> Flow: ...

    def is_eof(self) -> bool: ...

    def exception(self) -> BaseException | None: ...

    def read_nowait(self, n: int = -1) -> bytes: ...

    async def _wait(self, func_name: str) -> None: ...


def at_hand(content: Content) -> bytes | None:
    """Return the body where all of it is here in one piece, which stays in `content`; None: read it as usual."""
    if not 0 < content.total_bytes < _UNPAUSED_BYTES or not content.is_eof() or content.exception() is not None:
        return None
    pieces = content._buffer
    return pieces[0] if len(pieces) == 1 and content._size == content.total_bytes else None


async def next_piece(content: Content) -> bytes:
    """Return what has come since the last time, waiting for some; b"" at the end. Raises what reading raises."""
    while True:
        if (error := content.exception()) is not None:
            raise error
        if content.total_bytes and content._buffer:
            return _take(content)
        if content.is_eof():
            return b""
        await content._wait("next_piece")


def _take(content: Content) -> bytes:
    flow, pieces = content._protocol, content._buffer
    if flow._reading_paused or flow._buffer_paused or content._buffer_offset:
        return content.read_nowait()
    piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    pieces.clear()
    content._size = 0
    content._cursor = content.total_bytes
    if content._http_chunk_splits:
        content._http_chunk_splits.clear()
    return piece
