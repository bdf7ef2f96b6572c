"""The embedder process as a worker sees it: one connection, questions of all requests on it, answers by number.

Never waits for a process that is not there, never retries a question, never logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.cache.semantic.types import Embedded, EmbedderUnavailable, TooLong
from gateway.embedder.frames import MAX_TEXT_BYTES, BadFrame, Greeting, Replies, Reply, question_frame
from gateway.lane import State, Transition
from gateway.ports import Clock
from gateway.supervisor import Supervisor
from router.usage import BYTES_PER_TOKEN

MOST_SILENT: Final = 8
"""So many questions in a row without any answer, and the process counts as gone: its kernel would go on taking them."""
GREETING_LIMIT_S: Final = 1.0


class _Late:
    """Stands for the answer to a question that has waited too long."""


Answer = Embedded | TooLong | _Late | None
_LATE: Final = _Late()


class _Link(asyncio.Protocol):
    """One connection; tells its client of replies and of its end. Questions of one turn of the loop go in one write."""

    def __init__(self, on_replies: Callable[[Sequence[Reply]], None]) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[Greeting] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._on_replies = on_replies
        self._unsent: list[bytes] = []
        self._replies = Replies()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream it is one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._replies.feed(data)
        except BadFrame as error:
            self.end(str(error))
            return
        if self._replies.greeting is not None and not self.greeted.done():
            self.greeted.set_result(self._replies.greeting)
        self._on_replies(replies)

    def pause_writing(self) -> None:
        self.end("it does not read its questions")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.end("the connection was closed")

    def write(self, frame: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent.append(frame)

    def _send(self) -> None:
        frames, self._unsent = self._unsent, []
        if self._transport is not None and not self.ended.done():
            self._transport.write(b"".join(frames))

    def end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
        if not self.greeted.done():
            self.greeted.set_exception(EmbedderUnavailable(reason))
            self.greeted.exception()  # heard: nobody may be waiting for it
        if self._transport is not None:
            self._transport.abort()


class EmbedderClient:
    """An Embedder (gateway.cache.semantic.types) by the process at `path`; `start` connects it.

    `on_transition` hears each change once; before the first connection there is no change to tell until
    `first_wait_s` have passed, because the process starts beside the worker.
    """

    def __init__(
        self,
        path: Path,
        *,
        expected: Greeting,
        supervisor: Supervisor,
        clock: Clock,
        timeout_s: float = 0.05,
        retry_s: float = 0.25,
        first_wait_s: float = 30.0,
        on_transition: Callable[[Transition], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._expected = expected
        self._supervisor = supervisor
        self._clock = clock
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._first_wait_s = first_wait_s
        self._on_transition = on_transition
        self._told: State | None = None
        self._reason = "the embedder is starting"
        self._link: _Link | None = None
        self._waiting: dict[int, tuple[float, asyncio.Future[Answer]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._silent = 0

    @property
    def id(self) -> str:
        """Name weights and precision."""
        return self._expected.embedder_id

    @property
    def dim(self) -> int:
        """Return the length of a vector."""
        return self._expected.dim

    @property
    def state(self) -> State:
        """Return "up" while there is a connection."""
        return "down" if self._link is None else "up"

    @property
    def reason(self) -> str:
        """Return why there is no connection, or was none the last time."""
        return self._reason

    def start(self) -> None:
        """Connect, and again whenever the process has gone, until the supervisor closes."""
        self._supervisor.spawn(self._keep_connected(), name="embedder link")

    async def embed(self, text: str) -> Embedded | TooLong:
        """Return the text's vector within the bound.

        A text beyond MAX_TEXT_BYTES is TooLong with its tokens estimated by its bytes. Raises EmbedderUnavailable; a
        cancelled caller loses only its own answer.
        """
        # A lone surrogate has no UTF-8.
        data = text.encode(errors="replace") if len(text) <= MAX_TEXT_BYTES else b""
        if len(text) > MAX_TEXT_BYTES or len(data) > MAX_TEXT_BYTES:
            return TooLong(tokens=round(len(text) / BYTES_PER_TOKEN), window=self._expected.window)
        link = self._link
        if link is None:
            raise EmbedderUnavailable(self._reason)
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        due = loop.time() + self._timeout_s
        self._waiting[number] = due, answer
        if self._timer is None:
            self._timer = loop.call_at(due, self._check)
        link.write(question_frame(number, self._clock.monotonic() + self._timeout_s, data))
        try:
            found = await answer
        finally:
            del self._waiting[number]
        if isinstance(found, _Late):
            self._count_silence(link)
            raise EmbedderUnavailable(f"no vector within {self._timeout_s * 1000:g} ms")
        if found is None:
            raise EmbedderUnavailable(self._reason if self._link is None else "the embedder has too much to do")
        return found

    def _check(self) -> None:
        """Tell whoever has waited too long. One timer serves all questions: they wait equally long, in order."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for due, answer in self._waiting.values():
            if answer.done():
                continue
            if due > now:
                self._timer = loop.call_at(due, self._check)
                return
            answer.set_result(_LATE)

    def _count_silence(self, link: _Link) -> None:
        self._silent += 1
        if self._silent >= MOST_SILENT:
            link.end(f"{self._silent} questions without an answer")

    def _take(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            self._silent = 0
            _, answer = self._waiting.get(reply.number, (0.0, None))
            if answer is not None and not answer.done():
                answer.set_result(reply.answer)

    async def _keep_connected(self) -> None:
        began_s = self._clock.monotonic()
        while True:
            try:
                link = await self._connect()
            except (OSError, TimeoutError, EmbedderUnavailable) as error:
                self._reason = f"cannot connect: {str(error) or type(error).__name__}"
            else:
                await self._use(link)
            if self._told is not None or self._clock.monotonic() - began_s >= self._first_wait_s:
                self._tell("down", self._reason)
            await self._clock.sleep(self._retry_s)

    async def _connect(self) -> _Link:
        """Return a greeted link. Raises OSError, TimeoutError, EmbedderUnavailable (another model)."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(GREETING_LIMIT_S):
            _, link = await loop.create_unix_connection(lambda: _Link(self._take), str(self._path))
            try:
                greeting = await link.greeted
                if greeting != self._expected:
                    raise EmbedderUnavailable(f"it embeds by {greeting.embedder_id}, not by {self.id}")
            except BaseException:
                link.end("not wanted")
                raise
        return link

    async def _use(self, link: _Link) -> None:
        self._link, self._silent = link, 0
        self._tell("up", "connected")
        try:
            self._reason = await link.ended
        finally:
            self._link = None
            link.end("the worker is closing")
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_result(None)

    def _tell(self, state: State, reason: str) -> None:
        if state != self._told:
            self._told = state
            self._on_transition(Transition(state=state, reason=reason))
