"""The bytes between a worker and the embedder process: frames read and written. No socket.

A connection begins with the process's greeting; then the worker asks and the process answers, in any order. Numbers are
big-endian, vectors float32 as this machine has them, since both ends share it.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
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


class Greeting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the process embeds with."""

    embedder_id: str
    dim: int
    window: int

    def pack(self) -> bytes:
        """Return the frame."""
        name = self.embedder_id.encode()
        return _GREETING.pack(MAGIC, self.dim, self.window, len(name)) + name


class Question(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A text to embed. After `due_s` (the host's monotonic clock) nobody waits for it any more."""

    number: int
    due_s: float
    text: str

    def pack(self) -> bytes:
        """Return the frame."""
        return question_frame(self.number, self.due_s, self.text.encode(errors="replace"))


def question_frame(number: int, due_s: float, text: bytes) -> bytes:
    """Return the frame of a question whose text has been encoded already."""
    return _QUESTION.pack(number, due_s, len(text)) + text


class Reply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
        self._rest = b""
        self.greeting: Greeting | None = None

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies that are whole now. Raises BadFrame."""
        self._rest = self._rest + data if self._rest else data
        if self.greeting is None:
            self.greeting = self._read_greeting()
        return [] if self.greeting is None else self._read_replies(self.greeting)

    def _read_greeting(self) -> Greeting | None:
        if len(self._rest) < _GREETING.size:
            return None
        magic, dim, window, length = _GREETING.unpack_from(self._rest)
        if magic != MAGIC:
            raise BadFrame("this is no embedder of ours, or one of another version")
        if len(self._rest) < _GREETING.size + length:
            return None
        end = _GREETING.size + length
        name, self._rest = self._rest[_GREETING.size : end].decode(), self._rest[end:]
        return Greeting(embedder_id=name, dim=dim, window=window)

    def _read_replies(self, greeting: Greeting) -> list[Reply]:
        rest, at, found = self._rest, 0, list[Reply]()
        while len(rest) - at >= _ANSWER.size:
            number, kind, tokens = _ANSWER.unpack_from(rest, at)
            start = at + _ANSWER.size
            end = start + (4 * greeting.dim if kind == _VECTOR else 0)
            if end > len(rest):
                break
            found.append(Reply(number=number, answer=_answer(kind, tokens, rest[start:end], window=greeting.window)))
            at = end
        self._rest = rest[at:]
        return found


def _answer(kind: int, tokens: int, data: bytes, *, window: int) -> Embedded | TooLong | None:
    if kind == _VECTOR:  # a view of a copy: what came in one read is not kept for the sake of one vector
        return Embedded(vector=np.frombuffer(data, np.float32), tokens=tokens)
    if kind == _TOO_LONG:
        return TooLong(tokens=tokens, window=window)
    if kind == _LATE:
        return None
    raise BadFrame(f"an answer of kind {kind}")
