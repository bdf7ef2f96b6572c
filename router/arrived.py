"""A body that came whole, in one piece with its head, as most small ones do: taken without aiohttp's flow control.

`StreamReader.read_nowait` takes 5 us among other work, nearly all of it to resume reading that was never paused. Bound
to the pinned aiohttp, as router/provider_link.py is; imports nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_UNPAUSED_BYTES = 65_536
"""aiohttp's low-water mark: of a body below it, reading was never paused."""


class Content(Protocol):
    """What is used of aiohttp's StreamReader, whose empty one has no buffer at all."""

    @property
    def total_bytes(self) -> int: ...

    @property
    def _size(self) -> int: ...

    @property
    def _buffer(self) -> Sequence[bytes]: ...

    def is_eof(self) -> bool: ...

    def exception(self) -> BaseException | None: ...


def at_hand(content: Content) -> bytes | None:
    """Return the body where all of it is here in one piece, which stays in `content`; None: read it as usual."""
    if not 0 < content.total_bytes < _UNPAUSED_BYTES or not content.is_eof() or content.exception() is not None:
        return None
    pieces = content._buffer
    return pieces[0] if len(pieces) == 1 and content._size == content.total_bytes else None
