"""A scripted Anthropic Messages API on a real socket: answers, streams, errors, cuts and redirects on command."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, cycle
from types import TracebackType
from typing import Self

USAGE = {"input_tokens": 7, "output_tokens": 4, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. `cut_after` drops the connection after so many events, `end_after` ends it as if all were well,
    `hang_after` sends no more, `error_after` sends an error event instead, `malformed_at` a broken event before it;
    of an unstreamed body `cut_after` sends half, `hang_after` the headers alone. `silent` never answers, `reset` breaks
    off before the headers. `body` replaces the generated one, streamed or not; `drip_s` waits after every event or
    twenty bytes of an unstreamed body; `is_endless` repeats the text for ever.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, object] | None = None
    content: Sequence[Mapping[str, object]] = ({"type": "text", "text": "Hello there."},)
    stop_reason: str = "end_turn"
    cut_after: int | None = None
    end_after: int | None = None
    hang_after: int | None = None
    error_after: int | None = None
    malformed_at: int | None = None
    malformed_event: str = 'event: content_block_delta\ndata: {"type": "content_block_delta", "ind\n\n'
    silent: bool = False
    reset: bool = False
    body: str | None = None
    drip_s: float = 0.0
    is_endless: bool = False


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as it arrived; `hung_up` is set once the client closed before the answer was complete."""

    path: str
    headers: dict[str, str]
    body: dict[str, object]
    at_s: float
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


class AnthropicProvider:
    """Answers with the queued replies in turn, a model's own before everybody's, then with the model's usual one."""

    def __init__(self) -> None:
        self._replies: deque[Reply] = deque()
        self._queues: dict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = {}
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests: list[Seen] = []
        self.connections = 0
        self.arrived = asyncio.Event()

    def queue(self, *replies: Reply) -> None:
        """Answer the next requests with these."""
        self._replies.extend(replies)

    def script(self, model: str, *replies: Reply) -> None:
        """Answer the next requests for `model` with these."""
        self._queues[model].extend(replies)

    def always(self, model: str, reply: Reply) -> None:
        """Answer requests for `model` with `reply` once nothing is queued."""
        self._always[model] = reply

    def forget(self) -> None:
        """Drop queued replies and what was asked."""
        self._replies.clear()
        self._queues.clear()
        self._always.clear()
        self.requests.clear()

    def _next(self, model: str) -> Reply:
        for queue in (self._queues[model], self._replies):
            if queue:
                return queue.popleft()
        return self._always.get(model, Reply())

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Listen no more and drop every connection; idempotent."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
            }
            raw = await reader.readexactly(int(headers.get("content-length", "0")))
            seen = Seen(path=head[0].split(" ")[1], headers=headers, body=json.loads(raw or b"{}"), at_s=_now_s())
            self.requests.append(seen)
            self.arrived.set()
            reply = self._next(str(seen.body.get("model")))
            async with asyncio.TaskGroup() as group:
                answer = group.create_task(self._answered(reply, seen, writer))
                with suppress(ConnectionError):
                    await reader.read()
                if not answer.done():
                    seen.hung_up.set()
                answer.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answered(self, reply: Reply, seen: Seen, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reply, seen, writer)
        except ConnectionError:
            seen.hung_up.set()

    async def _answer(self, reply: Reply, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if reply.silent:
            await asyncio.Event().wait()
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
        if seen.body.get("stream") and reply.status == 200 and reply.body is None:
            await self._stream(reply, writer)
            return
        body = reply.error if reply.status != 200 else _message(reply)
        encoded = (reply.body if reply.body is not None else json.dumps(body)).encode()
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(encoded)}", "Content-Type: application/json"]
        lines += ["Connection: close", *(f"{name}: {value}" for name, value in reply.headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if reply.hang_after is not None:
            await asyncio.Event().wait()
        if reply.cut_after is not None:
            encoded = encoded[: len(encoded) // 2]
        size = 20 if reply.drip_s else max(1, len(encoded))
        for start in range(0, len(encoded), size):
            writer.write(encoded[start : start + size])
            await writer.drain()
            await asyncio.sleep(reply.drip_s)
        writer.close()

    async def _stream(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
        writer.write((head + "Connection: close\r\n\r\n").encode())
        for number, event in enumerate(_events(reply)):
            if number == reply.hang_after:
                await asyncio.Event().wait()
            if number == reply.cut_after:
                writer.close()
                return
            if number == reply.end_after:
                break
            if number == reply.malformed_at:
                await _send_chunk(writer, reply.malformed_event.encode())
            if number == reply.error_after:
                event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            await _send_chunk(writer, data)
            await asyncio.sleep(reply.drip_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()


async def _send_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


def _message(reply: Reply) -> dict[str, object]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": list(reply.content),
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
    }


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _events(reply: Reply) -> Iterator[dict[str, object]]:
    start = {**_message(reply), "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(reply.content):
        deltas: list[dict[str, object]]
        if block["type"] == "text":
            opened: dict[str, object] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": word} for word in str(block["text"]).split(" ")]
        else:
            opened = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for delta in chain(deltas, cycle(deltas) if reply.is_endless else ()):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": USAGE}
    yield {"type": "message_stop"}
