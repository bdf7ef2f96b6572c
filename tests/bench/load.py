"""The load generator, a process of its own: a Load per line in, a Told per line out. Knows nothing of the product.

Raw protocols over keep-alive connections, requests made of bytes that were joined beforehand: about 15 µs each.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import cast

import msgspec
import uvloop

from gateway.clock import SystemClock
from tests.bench.orders import Kind, Load, Told, percentile
from tests.bench.payloads import COUNTER

DRAIN_S = 30.0
CONNECT_AT_ONCE = 100
LONGEST_S = 3600.0
"""Of a run that is bounded by its requests."""
now = SystemClock().monotonic


class Source:
    """Makes the requests of one kind, numbered through the life of the process."""

    def __init__(self, kind: Kind, counters: Counter[str]) -> None:
        self.kind = kind
        self._counters = counters
        length = len(kind.before) + len(kind.after) + len(COUNTER % 0)
        more = "".join(f"{name}: {value}\r\n" for name, value in kind.headers)
        opening = f"POST {kind.path} HTTP/1.1\r\nHost: bench\r\n{more}Content-Type: application/json\r\n"
        closing = f"Content-Length: {length}\r\n\r\n"
        keys = kind.keys or ("",)
        self._heads = [f"{opening}Authorization: Bearer {key}\r\n{closing}".encode() + kind.before for key in keys]
        self.expect = kind.expect.encode()

    def next(self) -> bytes:
        """Return the next request."""
        kind = self.kind
        count = self._counters[kind.name]
        self._counters[kind.name] = count + 1
        number = count // kind.repeat
        head = self._heads[count % len(self._heads)]
        return head + COUNTER % (number % (kind.cycle or 10**8)) + kind.after


class Run:
    """One load: what is to be sent, what came of it."""

    def __init__(self, load: Load, counters: Counter[str]) -> None:
        self.load = load
        rng = random.Random(load.seed)
        sources = [Source(kind, counters) for kind in load.kinds]
        weights = [kind.weight for kind in load.kinds]
        self._order = rng.choices(sources, weights, k=8192) if len(sources) > 1 else sources
        self.rng = rng
        self.begun = self.ended = self.expected = self.wrong = self.broken = self.left = self.reads = 0
        self.statuses: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.late_s: list[float] = []
        self.sample = ""
        self.stop_s = float("inf")
        self.is_over = False

    def start(self) -> None:
        """Let the time run from now on."""
        self.stop_s = now() + self.load.seconds if self.load.seconds else float("inf")

    def take(self) -> Source | None:
        """Return the next source, None once there is no more to send."""
        load = self.load
        if self.is_over or (load.requests and self.begun >= load.requests) or now() >= self.stop_s:
            self.is_over = True
            return None
        self.begun += 1
        return self._order[self.begun % len(self._order)]

    def told(self, elapsed_s: float) -> Told:
        """Sum up."""
        took_ms = sorted(took_s * 1000 for took_s in self.took_s)
        cuts = [percentile(took_ms, share) for share in (0.5, 0.9, 0.99, 0.999)]
        return Told(
            requests=self.ended,
            elapsed_s=elapsed_s,
            statuses=dict(self.statuses),
            kinds=dict(self.kinds),
            expected=self.expected,
            wrong=self.wrong,
            broken=self.broken,
            left=self.left,
            sample=self.sample,
            p50_ms=cuts[0],
            p90_ms=cuts[1],
            p99_ms=cuts[2],
            p999_ms=cuts[3],
            max_ms=took_ms[-1] if took_ms else 0.0,
            late_p99_ms=percentile(sorted(self.late_s), 0.99) * 1000,
            reads=self.reads / max(1, len(took_ms)),
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection; `on_free` is called whenever it can take a request, `on_lost` when it is gone."""

    def __init__(self, run: Run, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._run = run
        self._on_free, self._on_lost = on_free, on_lost
        self._transport: asyncio.Transport | None = None
        self._source: Source | None = None
        self._held = b""
        self._left: int | None = None  # None: the head is not read; -1: chunked
        self._status = 0
        self._is_expected = False
        self._reads = 0
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, which is none of asyncio's
        self._on_free(self)

    def send(self, source: Source) -> None:
        """Send the next request of `source`."""
        assert self._transport is not None
        self._source, self._left, self._held, self._reads = source, None, b"", 0
        self._transport.write(source.next())
        self._sent_s = now()
        if source.kind.leave_after == 0:
            asyncio.get_running_loop().call_later(0.004, self._leave, source)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        source = self._source
        if source is None:
            return
        self._reads += 1
        if self._left is None:
            data = self._read_head(source, self._held + data if self._held else data)
        elif self._left > 0:
            self._left -= len(data)
        if self._left == 0 or (self._left == -1 and (self._held + data).endswith(b"0\r\n\r\n")):
            self._end(source)
        elif self._left == -1:
            self._held = data[-5:]
            if source.kind.leave_after is not None and self._reads >= source.kind.leave_after:
                self._leave(source)

    def _read_head(self, source: Source, held: bytes) -> bytes:
        """Read the head where it is whole, and return what of the body came with it."""
        end = held.find(b"\r\n\r\n")
        if end < 0:
            self._held = held
            return b""
        head = held[:end].lower()
        self._held = b""
        self._status = int(head[9:12])
        self._is_expected = source.expect in head
        if self._status not in source.kind.statuses:
            self._run.sample = held[end + 4 : end + 304].decode(errors="replace")
        at = head.find(b"content-length:")
        if at < 0:
            self._left = -1
        else:
            stop = head.find(b"\r\n", at)
            self._left = int(head[at + 15 : stop if stop > 0 else end]) - (len(held) - end - 4)
        return held[end + 4 :]

    def _end(self, source: Source) -> None:
        run, status = self._run, self._status
        run.took_s.append(now() - self._sent_s)
        run.ended += 1
        run.reads += self._reads
        run.expected += self._is_expected
        run.wrong += status not in source.kind.statuses
        run.statuses[str(status)] += 1
        run.kinds[source.kind.name] += 1
        self._source = None
        self._on_free(self)

    def _leave(self, source: Source) -> None:
        if self._source is source and self._transport is not None:
            self._run.left += 1
            self._run.ended += 1
            self._run.kinds[source.kind.name] += 1
            self._source = None
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._source is not None:
            self._run.broken += 1
            self._run.ended += 1
            self._source = None
        self._on_lost(self)


class Driver:
    """Opens connections, gives them work, and ends when all of it is answered."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._all: set[Connection] = set()
        self._done = asyncio.Event()
        self._is_connected = False

    async def drive(self) -> Told:
        """Run the load."""
        load, started_s = self._run.load, now()
        try:
            if load.rate:
                await self._open_loop(load)
            else:
                await self._closed_loop(load)
            limit_s = (load.seconds or LONGEST_S) + DRAIN_S
            async with asyncio.timeout(limit_s):
                await self._done.wait()
        except TimeoutError:
            self._run.broken += self._run.begun - self._run.ended
        elapsed_s = now() - started_s
        self._run.is_over = True
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0.01)
        return self._run.told(elapsed_s)

    async def _closed_loop(self, load: Load) -> None:
        """Connect everybody first: a thousand that ask as they come in are not a thousand at once."""
        for _ in range(0, load.connections, CONNECT_AT_ONCE):
            left = load.connections - len(self._all)
            await asyncio.gather(*(self._connect() for _ in range(min(CONNECT_AT_ONCE, left))))
        self._run.start()
        self._is_connected = True
        while self._free:
            self._freed(self._free.popleft())

    async def _connect(self) -> None:
        _, made = await self._loop.create_connection(
            lambda: Connection(self._run, self._freed, self._lost), "127.0.0.1", self._run.load.port
        )
        self._all.add(made)

    def _freed(self, connection: Connection) -> None:
        run = self._run
        if run.load.rate:
            if self._due:
                self._give(connection)
            else:
                self._free.append(connection)
        elif not self._is_connected:
            self._free.append(connection)
        else:
            source = run.take()
            if source is not None:
                connection.send(source)
        self._check()

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if not self._run.is_over:
            self._grow()
        self._check()

    def _grow(self) -> None:
        task = self._loop.create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check(self) -> None:
        if self._run.is_over and self._run.ended >= self._run.begun and not self._due:
            self._done.set()

    async def _open_loop(self, load: Load) -> None:
        await asyncio.gather(*(self._connect() for _ in range(min(load.connections, 16))))
        for due_s in self._arrivals(load):
            while (wait_s := due_s - now()) > 0:  # noqa: ASYNC110 - it is the time that is waited for
                await asyncio.sleep(wait_s)
            self._due.append(due_s)
            if self._free:
                self._give(self._free.popleft())
            elif len(self._all) < load.connections:
                self._grow()
        self._run.is_over = True
        self._check()

    def _arrivals(self, load: Load) -> Iterator[float]:
        due_s = started_s = now()
        count = 0
        while due_s - started_s < load.seconds and (not load.requests or count < load.requests):
            due_s += self._run.rng.expovariate(load.rate)
            count += 1
            yield due_s

    def _give(self, connection: Connection) -> None:
        due_s = self._due.popleft()
        source = self._run.take()
        if source is not None:
            self._run.late_s.append(now() - due_s)
            connection.send(source)


async def main() -> None:
    """Run one load per line of standard input until it ends."""
    counters: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        load = msgspec.json.decode(line, type=Load)
        told = await Driver(Run(load, counters)).drive()
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
