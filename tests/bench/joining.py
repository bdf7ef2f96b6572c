"""What a thousand identical streams cost a provider, and how soon those who join hear its tokens: `make bench-joining`.

Two real workers with a private Redis, a scripted provider and this client, each a process of its own, all on this
machine: the client's figures include its own work for a thousand open streams.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
from rich.console import Console
from rich.table import Table

from gateway.clock import SystemClock
from tests.e2e.serving import RemoteProvider, Served, remote_provider, request, serving, until
from tests.provider import Reply

STREAMS = 1_000
FIRST = 20
"""So many come one after another even where the rest comes at once: each worker then has its call."""
WORDS = tuple(f"word{number} " for number in range(40))
MODEL = "gpt-4o-mini"


@dataclass(slots=True, kw_only=True)
class Crowd:
    """A thousand callers of one prompt; the provider stands still after its third event until all have begun."""

    name: str
    served: Served
    session: aiohttp.ClientSession
    is_at_once: bool
    waits_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def gate(self) -> str:
        """What the provider waits for."""
        return self.name.replace(" ", "-")

    async def gather(self, provider: RemoteProvider) -> None:
        """Let all come, then let the answer go on, and read every stream to its end."""
        provider.script(MODEL, *[Reply(words=WORDS, gate=self.gate, gate_at=3)] * 8)
        answers = [await self._begin() for _ in range(FIRST if self.is_at_once else STREAMS)]
        if self.is_at_once:
            answers += await asyncio.gather(*(self._begin() for _ in range(STREAMS - FIRST)))
        provider.open_gate(self.gate)
        self.bodies = await asyncio.gather(*(self._end(answer, seen) for answer, seen in answers))

    async def _begin(self) -> tuple[aiohttp.ClientResponse, bytes]:
        clock = SystemClock()
        started_s = clock.monotonic()
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": self.name}]}
        answer = await self.session.post(self.served.url + "/v1/chat/completions", json=body)
        seen = b""
        while b"word0" not in seen:
            seen += await answer.content.readany()
        self.waits_s.append(clock.monotonic() - started_s)
        return answer, seen

    async def _end(self, answer: aiohttp.ClientResponse, seen: bytes) -> bytes:
        async with answer:
            return seen + await answer.content.read()


def access_lines(served: Served, after: int) -> list[dict[str, object]]:
    """Return what the workers said of each chat request since the log had `after` characters."""
    lines = (json.loads(line) for line in served.logged()[after:].splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("endpoint") == "chat"]


def joined_lines(served: Served, after: int) -> list[dict[str, object]]:
    """Return the lines of those who joined, once every caller has its line."""
    until(lambda: len(access_lines(served, after)) == STREAMS, "every access line")
    return [line for line in access_lines(served, after) if line["cache"] == "joined"]


def quantiles(values: Sequence[float]) -> str:
    """Return the median, the 99th percentile and the worst, in the unit given."""
    cuts = statistics.quantiles(values, n=100)
    return f"{cuts[49]:.2f} / {cuts[98]:.2f} / {max(values):.2f}"


async def run(served: Served, provider: RemoteProvider) -> Table:
    """Return the table of both crowds."""
    table = Table(title=f"{STREAMS:,} identical streams, 2 workers; milliseconds as p50 / p99 / worst")
    for title in ("they come", "provider calls", "joined", "different answers", "first token, in the worker", "client"):
        table.add_column(title)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {served.key}"}) as session:
        for name, is_at_once in (("one after another", False), ("at once", True)):
            request(provider.origin, "/control/reset", body={})
            logged = len(served.logged())
            crowd = Crowd(name=name, served=served, session=session, is_at_once=is_at_once)
            await crowd.gather(provider)
            joined = joined_lines(served, logged)
            table.add_row(
                name,
                str(len(provider.requests())),
                str(len(joined)),
                str(len(set(crowd.bodies))),
                quantiles([float(str(line["first_token_ms"])) for line in joined]),
                quantiles([wait_s * 1e3 for wait_s in crowd.waits_s]),
            )
    return table


def main() -> None:
    """Start everything, measure, print."""
    with serving() as served, remote_provider() as provider:
        served.stop()
        served.start(
            OPENAI_API_KEY="sk-bench",
            OPENAI_BASE_URL=f"{provider.origin}/v1",
            FOREWORD_MAX_CONNECTIONS_PER_KEY=str(STREAMS),
        )
        Console(width=120).print(asyncio.run(run(served, provider)))


if __name__ == "__main__":
    main()
