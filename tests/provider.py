"""A scripted OpenAI-shaped provider on a real socket; it speaks raw HTTP so that it can misbehave. No product code.

In a test: `async with ScriptedProvider() as provider`, `provider.script("gpt-4o", Reply(status=500), Reply())`.
As its own process: `python -m tests.provider --port 9100`, then POST /control/script, /control/gates/{name},
/control/reset and GET /control/requests (see `_control`). Nothing here sleeps unless a Reply says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.replies import Reply, Seen, body_of, events_of, head_of, reply_of, whole_of

__all__ = ["Reply", "ScriptedProvider", "Seen"]


class ScriptedProvider:
    """The provider: queues of replies per model ("*" for any), and everything that was asked."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._queues: dict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = {}
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests: list[Seen] = []
        self.connections = 0

    @property
    def origin(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"http://{self._host}:{self._port}"

    @property
    def api_base(self) -> str:
        """What a deployment's api_base is."""
        return self.origin + "/v1"

    @property
    def open_connections(self) -> int:
        """Connections that clients hold now."""
        return len(self._writers)

    def script(self, model: str, *replies: Reply) -> None:
        """Queue replies for requests that name `model` ("*": any); without a queue the plain answer is given."""
        self._queues[model].extend(replies)

    def always(self, model: str, reply: Reply) -> None:
        """Give `reply` whenever the queue of `model` is empty."""
        self._always[model] = reply

    def queued(self, model: str) -> int:
        """Return how many replies wait in the queue of `model`."""
        return len(self._queues[model])

    def open_gate(self, name: str) -> None:
        """Let everything that waits at `name` go on, now and later."""
        self._gates[name].set()

    def reset(self) -> None:
        """Forget script, gates and requests."""
        self._queues.clear()
        self._always.clear()
        self._gates.clear()
        self.requests.clear()

    async def wait_for_requests(self, count: int) -> None:
        """Return once `count` requests have arrived; TimeoutError after 30 s."""
        async with asyncio.timeout(30):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def wait_for_hang_up(self, index: int = 0) -> None:
        """Return once the client of request `index` has left before the answer's end; TimeoutError after 30 s."""
        await self.wait_for_requests(index + 1)
        async with asyncio.timeout(30):
            await self.requests[index].hung_up.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:  # noqa: ASYNC110 - a turn or two of the loop, while the connections notice
            await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None
        await self._server.serve_forever()

    # -- one connection ------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = _Connection(reader=reader, writer=writer, number=self.connections)
        self._writers.add(writer)
        try:
            while (seen := await connection.read_request()) is not None:
                if seen.path.startswith("/control/"):
                    writer.write(self._control(seen))
                    continue
                self.requests.append(seen)
                self._arrived.set()
                if not await self._watched(seen, connection):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _watched(self, seen: Seen, connection: _Connection) -> bool:
        """Answer while watching for the client's hang-up; False where the connection is to be dropped."""
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answered(seen, connection.writer))
            watching = tasks.create_task(connection.gone())
            await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                seen.hung_up.set()
            watching.cancel()
            answering.cancel()
        seen.finished.set()
        return not seen.hung_up.is_set() and answering.result()

    async def _answered(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        try:
            return await self._answer(seen, writer)
        except ConnectionError:
            seen.hung_up.set()
            return False

    def _next(self, model: str) -> Reply:
        for name in (model, "*"):
            if self._queues[name]:
                return self._queues[name].popleft()
        return self._always.get(model) or self._always.get("*") or Reply()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        try:
            document = json.loads(seen.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            error = '{"error": {"message": "bad JSON", "type": "invalid_request_error"}}'
            await _send(writer, Reply(), whole_of(400, {}, error.encode()))
            return True
        reply = self._next(str(document.get("model")))
        if reply.gate is not None and reply.gate_at == 0:
            await self._gates[reply.gate].wait()
        await asyncio.sleep(reply.delay_s)
        if reply.fault == "silent":
            await asyncio.Event().wait()
        if reply.fault == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        if document.get("stream") is True and reply.status == 200 and reply.body is None and not reply.whole:
            return await self._stream(reply, document, writer, seen)
        body = body_of(reply, document, seen.path)
        head_and_body = whole_of(reply.status, reply.headers, body)
        if reply.fault == "cut":
            await _send(writer, reply, head_and_body[: -len(body) // 2])
            return False
        if reply.fault == "headers_only":
            await _send(writer, reply, head_and_body[: -len(body)])
            await asyncio.Event().wait()
        await _send(writer, reply, head_and_body)
        return True

    async def _stream(
        self, reply: Reply, document: Mapping[str, object], writer: asyncio.StreamWriter, seen: Seen
    ) -> bool:
        headers = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **reply.headers}
        writer.write(head_of(200, headers))
        await writer.drain()
        if reply.fault == "headers_only":
            await asyncio.Event().wait()
        for number, event in enumerate(events_of(reply, document)):
            if reply.gate is not None and reply.gate_at and number == reply.gate_at:
                await self._gates[reply.gate].wait()
            if number == reply.after_events and reply.fault in ("cut", "clean_cut", "stall"):
                break
            await _send(writer, reply, event, chunked=True)
            seen.streamed_bytes += len(event)
        if reply.fault == "cut":
            return False
        if reply.fault == "stall" or reply.linger:
            await asyncio.Event().wait()
        await asyncio.sleep(reply.end_delay_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    # -- control, for tests whose gateway is another process -------------------------------------------------------

    def _control(self, seen: Seen) -> bytes:
        """POST /control/script {"model", "replies": [Reply fields], "always": bool}; gates; reset; GET requests."""
        answer: object = {"ok": True}
        if seen.path == "/control/script":
            wish = seen.json()
            replies = wish["replies"]
            assert isinstance(replies, list)
            for reply in map(reply_of, replies):
                if wish.get("always"):
                    self.always(str(wish["model"]), reply)
                else:
                    self.script(str(wish["model"]), reply)
        elif seen.path.startswith("/control/gates/"):
            self.open_gate(seen.path.removeprefix("/control/gates/"))
        elif seen.path == "/control/reset":
            self.reset()
        elif seen.path == "/control/requests":
            answer = [
                {
                    "method": known.method,
                    "path": known.path,
                    "headers": known.headers,
                    "body": known.body.decode("utf-8", "replace"),
                    "at_s": known.at_s,
                    "hung_up": known.hung_up.is_set(),
                    "finished": known.finished.is_set(),
                }
                for known in self.requests
            ]
        else:
            return whole_of(404, {}, b'{"ok": false}')
        return whole_of(200, {}, json.dumps(answer).encode())


@dataclass(slots=True, kw_only=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    ahead: bytes = b""

    async def read_request(self) -> Seen | None:
        """Read one request; None where the client has closed."""
        try:
            head = self.ahead + await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        self.ahead = b""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        at_s = asyncio.get_running_loop().time()
        return Seen(method=method, path=path, headers=headers, body=body, at_s=at_s, connection=self.number)

    async def gone(self) -> None:
        """Return once the client has closed; the first byte of a next request is kept for read_request."""
        try:
            while byte := await self.reader.read(1):
                self.ahead += byte
        except ConnectionError:
            return


async def _send(writer: asyncio.StreamWriter, reply: Reply, data: bytes, *, chunked: bool = False) -> None:
    size = reply.piece_bytes or len(data)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
        if reply.piece_bytes:
            await asyncio.sleep(reply.drip_s)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    async with ScriptedProvider(host=options.host, port=options.port) as provider:
        sys.stdout.write(provider.origin + "\n")
        sys.stdout.flush()
        await provider.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
