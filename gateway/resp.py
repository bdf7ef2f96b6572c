"""Redis' protocol (RESP2) as bytes: commands packed, replies taken apart. Must not send, wait or know a command.

Source of the format: the Redis documentation, "RESP protocol spec".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.lane import LinkDown, Refused
from gateway.waiting import Command

_REDIRECTIONS = frozenset({"MOVED", "ASK"})
_SIMPLE, _ERROR, _INTEGER, _BULK, _ARRAY = b"+-:$*"
_OFTEN = ("GET", "SET", "NX", "PX", "EVAL", "XADD", "MAXLEN", "HGET", "HSET", "*", "~", "d")
_READY: Mapping[str, bytes] = {word: b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in _OFTEN}
"""Words that nearly every trip has, packed once."""
_COUNTS: Sequence[bytes] = tuple(b"*%d\r\n" % count for count in range(16))
_SIZES: Sequence[bytes] = tuple(b"$%d\r\n" % size for size in range(256))
"""Heads of short commands and words: looking one up takes a quarter of making it."""


class _Incomplete(Exception):
    """The reply goes on; `at_least` bytes are needed to read it."""

    def __init__(self, at_least: int) -> None:
        self.at_least = at_least


def pack(commands: Sequence[Command]) -> bytes:
    """Return the commands as they are sent."""
    parts: list[bytes] = []
    for command in commands:
        count = len(command)
        parts.append(_COUNTS[count] if count < len(_COUNTS) else b"*%d\r\n" % count)
        for word in command:
            if isinstance(word, str):
                if word in _READY:
                    parts.append(_READY[word])
                    continue
                word = word.encode()
            elif isinstance(word, int):
                word = str(word).encode()
            size = len(word)
            parts += (_SIZES[size] if size < len(_SIZES) else b"$%d\r\n" % size, word, b"\r\n")
    return b"".join(parts)


class ReplyReader:
    """Turns chunks, cut anywhere, into replies: bytes, int, None, Refused, or a list of them."""

    __slots__ = ("_at_least", "_held", "_size_bytes")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size_bytes = 0
        self._at_least = 0

    def feed(self, chunk: bytes) -> list[object]:
        """Return the replies that `chunk` completes. Raises LinkDown for what is no reply."""
        if self._held:
            self._held.append(chunk)
            self._size_bytes += len(chunk)
            if self._size_bytes < self._at_least:  # a large value comes in many chunks, and is looked at once
                return []
            chunk = b"".join(self._held)
            self._held.clear()
        replies: list[object] = []
        at = 0
        try:
            while at < len(chunk):
                reply, at = _reply(chunk, at)
                replies.append(reply)
        except _Incomplete as incomplete:
            self._held.append(chunk[at:])
            self._size_bytes = len(chunk) - at
            self._at_least = incomplete.at_least - at
        return replies


def _reply(data: bytes, at: int) -> tuple[object, int]:
    """Return the reply that begins at `at`, and where the next one does."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Incomplete(len(data) + 1)
    kind, after = data[at], end + 2
    if kind == _SIMPLE:
        return data[at + 1 : end], after
    if kind == _ERROR:
        return _refused(data[at + 1 : end]), after
    number = _number(data, at + 1, end)
    if kind == _INTEGER:
        return number, after
    if kind == _BULK:
        return (None, after) if number < 0 else _bulk(data, after, number)
    if kind == _ARRAY:
        return (None, after) if number < 0 else _array(data, after, number)
    raise LinkDown("the server speaks no RESP")


def _bulk(data: bytes, start: int, size_bytes: int) -> tuple[bytes, int]:
    after = start + size_bytes + 2
    if len(data) < after:
        raise _Incomplete(after)
    return data[start : after - 2], after


def _array(data: bytes, at: int, count: int) -> tuple[list[object], int]:
    items: list[object] = []
    for _ in range(count):
        if at >= len(data):
            raise _Incomplete(at + 1)
        item, at = _reply(data, at)
        items.append(item)
    return items, at


def _number(data: bytes, start: int, end: int) -> int:
    try:
        return int(data[start:end])
    except ValueError:
        raise LinkDown("the server speaks no RESP") from None


def _refused(error: bytes) -> Refused:
    """Keep an error's first word (OOM, WRONGTYPE, NOPERM …): the rest may quote a value, but in a redirection."""
    first, _, rest = error.partition(b" ")
    word = first.decode("ascii", "replace")
    if not word.isupper():
        return Refused(code="ERR")
    return Refused(code=word, to=rest.decode("ascii", "replace") if word in _REDIRECTIONS else "")
