"""The embedder's own process: one for a host, on a unix socket, for the questions of all its workers.

`python -m gateway.embedder.process FOLDER SOCKET PRECISION`. Batches what has come while it computed; reads no
configuration, keeps no text, and ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog
import uvloop

from gateway.cache.semantic.types import Embedded, TooLong
from gateway.clock import SystemClock
from gateway.embedder.frames import BadFrame, Greeting, Question, Questions, Reply
from gateway.embedder.minilm import MOST_TOKENS, MiniLM
from gateway.embedder.weights import Precision, WeightsUnusable
from gateway.logs import configure_logs
from gateway.ports import Clock

EXIT_CONFIG: Final = 2
NICENESS: Final = 5
"""Workers come first: a question that is embedded late costs a miss, a worker that stands still costs every caller."""
MOST_TEXTS: Final = 16
MOST_WAITING: Final = 1024
"""Beyond this a question is answered as late at once: at a few milliseconds each it would be."""


class Encoder(Protocol):
    """The part of MiniLM that the process uses."""

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def window(self) -> int: ...

    def tokens_of(self, text: str) -> Sequence[int]: ...

    def encode_tokens(self, read: Sequence[Sequence[int]]) -> Sequence[Embedded | TooLong]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    question: Question
    tokens: Sequence[int]
    caller: asyncio.Transport


class Batches:
    """Questions that wait, first come first served. It computes on the loop: there is nothing else for it to do.

    While it computes, sockets fill; what they hold is read before the next run, and that is the batch.
    """

    def __init__(self, encoder: Encoder, clock: Clock) -> None:
        self._encoder = encoder
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()

    @property
    def greeting(self) -> Greeting:
        """Return what a caller is told first."""
        return Greeting(embedder_id=self._encoder.id, dim=self._encoder.dim, window=self._encoder.window)

    def add(self, question: Question, caller: asyncio.Transport) -> None:
        """Let a question wait for the next run, or answer it at once where it cannot or need not be embedded."""
        if len(self._waiting) >= MOST_WAITING:
            caller.write(Reply(number=question.number, answer=None).pack())
            return
        tokens = self._encoder.tokens_of(question.text)
        if len(tokens) > self._encoder.window:
            answer = TooLong(tokens=len(tokens), window=self._encoder.window)
            caller.write(Reply(number=question.number, answer=answer).pack())
            return
        self._waiting.append(_Waiting(question=question, tokens=tokens, caller=caller))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        batch = self._take()
        answers = self._encoder.encode_tokens([waiting.tokens for waiting in batch])
        frames: dict[asyncio.Transport, list[bytes]] = {}
        for waiting, answer in zip(batch, answers, strict=True):
            reply = Reply(number=waiting.question.number, answer=answer)
            frames.setdefault(waiting.caller, []).append(reply.pack())
        for caller, told in frames.items():  # one write, so that a worker wakes once
            caller.write(b"".join(told))
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run)

    def _take(self) -> list[_Waiting]:
        """Return the next run's questions; those whose time has passed, or whose caller is gone, go without."""
        batch: list[_Waiting] = []
        tokens = 0
        now = self._clock.monotonic()
        while self._waiting and len(batch) < MOST_TEXTS:
            first = self._waiting[0]
            if first.caller.is_closing() or first.question.due_s <= now:
                self._waiting.popleft()
                first.caller.write(Reply(number=first.question.number, answer=None).pack())
                continue
            tokens += len(first.tokens)
            if batch and tokens > MOST_TOKENS:
                break
            batch.append(self._waiting.popleft())
        return batch


class Connection(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._questions = Questions()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream it is one
        """Greet."""
        self._transport = transport
        transport.write(self._batches.greeting.pack())

    def data_received(self, data: bytes) -> None:
        """Let every whole question wait its turn; whoever sends anything else is left."""
        assert self._transport is not None
        try:
            for question in self._questions.feed(data):
                self._batches.add(question, self._transport)
        except BadFrame:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Leave a caller that does not read its answers."""
        assert self._transport is not None
        self._transport.abort()


def bind(path: Path) -> socket.socket:
    """Bind a socket at `path`, replacing what a killed process left there; its folder keeps others out."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    return bound


async def listen(encoder: Encoder, bound: socket.socket, *, clock: Clock) -> asyncio.Server:
    """Listen on a bound socket, and return the server."""
    batches = Batches(encoder, clock)
    return await asyncio.get_running_loop().create_unix_server(lambda: Connection(batches), sock=bound)


async def _serve(encoder: Encoder, path: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await listen(encoder, bind(path), clock=SystemClock())
    await stop.wait()
    server.close()


def main(folder: Path, path: Path, precision: Precision) -> int:
    """Embed until SIGTERM and return the exit code: 2 where no restart would help."""
    configure_logs("info")
    log = structlog.get_logger()
    os.nice(NICENESS)
    try:
        encoder = MiniLM.load(folder, precision)
    except WeightsUnusable as error:
        log.warning("no embedder: the semantic cache stays off", why=str(error))
        return EXIT_CONFIG
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(encoder, path))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), "int8" if sys.argv[3] == "int8" else "float32"))
