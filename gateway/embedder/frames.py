"""The bytes between a worker and the embedder process: frames read and written. No socket.

A connection begins with the process's greeting; then the worker asks and the process answers, in any order. Numbers are
big-endian, vectors float32 as this machine has them, since both ends share it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.cache.semantic.types import Embedded, TooLong

MAGIC: Final = b"FWE1"
MAX_TEXT_BYTES: Final = 32 * 1024
"""No question is longer; a text beyond it is TooLong before anybody counts its tokens."""
_GREETING = struct.Struct("!4sHHH")
_QUESTION = struct.Struct("!IdI")
_ANSWER = struct.Struct("!IBI")
_VECTOR, _TOO_LONG, _LATE = range(3)


class BadFrame(Exception):
    """The other end speaks something else; the connection is of no more use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What the process embeds with."""

    embedder_id: str
    dim: int
    window: int

    def pack(self) -> bytes:
        """Return the frame."""
        name = self.embedder_id.encode()
        return _GREETING.pack(MAGIC, self.dim, self.window, len(name)) + name


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A text to embed. After `due_s` (the host's monotonic clock) nobody waits for it any more."""

    number: int
    due_s: float
    text: str

    def pack(self) -> bytes:
        """Return the frame."""
        text = self.text.encode(errors="replace")  # a lone surrogate has no UTF-8
        return _QUESTION.pack(self.number, self.due_s, len(text)) + text


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to the question of that number; None where its time had passed."""

    number: int
    answer: Embedded | TooLong | None

    def pack(self) -> bytes:
        """Return the frame."""
        match self.answer:
            case Embedded(vector=vector, tokens=tokens):
                return _ANSWER.pack(self.number, _VECTOR, tokens) + vector.tobytes()
            case TooLong(tokens=tokens):
                return _ANSWER.pack(self.number, _TOO_LONG, tokens)
            case None:
                return _ANSWER.pack(self.number, _LATE, 0)


class Questions:
    """Takes what a worker sent apart; the owner of the bytes that are not a whole frame yet."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Question]:
        """Return the questions that are whole now. Raises BadFrame."""
        rest = self._rest
        rest += data
        found: list[Question] = []
        at = 0
        while len(rest) - at >= _QUESTION.size:
            number, due_s, length = _QUESTION.unpack_from(rest, at)
            if length > MAX_TEXT_BYTES:
                raise BadFrame(f"a text of {length} bytes; at most {MAX_TEXT_BYTES} may come")
            end = at + _QUESTION.size + length
            if end > len(rest):
                break
            text = rest[at + _QUESTION.size : end].decode(errors="replace")
            found.append(Question(number=number, due_s=due_s, text=text))
            at = end
        del rest[:at]
        return found


class Replies:
    """Takes what the process sent apart: `greeting` is None until it has come."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self.greeting: Greeting | None = None

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are whole now. Raises BadFrame."""
        self._rest += data
        if self.greeting is None:
            self.greeting = self._read_greeting()
        found: list[Reply] = []
        while self.greeting is not None and (reply := self._read_reply(self.greeting)) is not None:
            found.append(reply)
        return found

    def _read_greeting(self) -> Greeting | None:
        if len(self._rest) < _GREETING.size:
            return None
        magic, dim, window, length = _GREETING.unpack_from(self._rest)
        if magic != MAGIC:
            raise BadFrame("this is no embedder of ours, or one of another version")
        if len(self._rest) < _GREETING.size + length:
            return None
        name = self._take(_GREETING.size + length)[_GREETING.size :].decode()
        return Greeting(embedder_id=name, dim=dim, window=window)

    def _read_reply(self, greeting: Greeting) -> Reply | None:
        if len(self._rest) < _ANSWER.size:
            return None
        number, kind, tokens = _ANSWER.unpack_from(self._rest)
        size = _ANSWER.size + (4 * greeting.dim if kind == _VECTOR else 0)
        if len(self._rest) < size:
            return None
        data = self._take(size)
        if kind == _VECTOR:
            vector = np.frombuffer(data, np.float32, greeting.dim, _ANSWER.size)
            return Reply(number=number, answer=Embedded(vector=vector, tokens=tokens))
        if kind == _TOO_LONG:
            return Reply(number=number, answer=TooLong(tokens=tokens, window=greeting.window))
        if kind == _LATE:
            return Reply(number=number, answer=None)
        raise BadFrame(f"an answer of kind {kind}")

    def _take(self, size: int) -> bytes:
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken
