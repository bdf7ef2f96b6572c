"""What `make bench` measures: each kind of work, on which servers, and what must come of it (performance.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.orders import Kind, Load
from tests.bench.payloads import big_text, chat_body
from tests.bench.servers import Server

HITS = 16
MISS = "x-foreword-cache: miss"
STREAMS = 24
"""So few that no server is saturated: a slower one would find several events in one read and look cheaper for it."""
CHAT, BIG, STREAM = "unique chat", "32 KB prompt", "stream of 50 events"
MEMORY, REDIS, STATIC = "exact hit, memory", "exact hit, Redis", "static answer"
WORKERS = "unique chat, two workers"
BUDGETS = "unique chat, budget and rate limit"
SEMANTIC = "unique chat, every question embedded"
AT_RATES = {50: "unique chat at 50 rps", 200: "unique chat at 200 rps"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One load for some servers. `connections` keep a closed loop at saturation."""

    name: str
    servers: tuple[str, ...]
    kind: Kind
    connections: int = 32
    rate: float = 0.0

    def load(self, server: Server, *, seconds: float, seed: int) -> Load:
        """Return the load for one server: with its key, and asking of its answers what only ours promise."""
        is_ours = server.name.startswith("gateway")
        kind = Kind(
            name=f"{self.kind.name} {server.name}",
            before=self.kind.before,
            after=self.kind.after,
            path=self.kind.path,
            cycle=self.kind.cycle,
            keys=(server.key,),
            expect=self.kind.expect if is_ours else "",
        )
        return Load(
            port=server.port,
            kinds=(kind,),
            connections=self.connections,
            seconds=seconds,
            rate=self.rate,
            seed=seed,
        )


def works() -> tuple[Work, ...]:
    """Return all work in the order in which a round goes through it."""
    before, after = chat_body()
    big_before, big_after = chat_body(text=big_text())
    stream_before, stream_after = chat_body(stream=True)
    # The exact key does not look at `stream`: another text, or streams would be hits of the chats before them.
    stream_before = stream_before.replace(b"Question ", b"Streamed question ")
    chat = Kind(name=CHAT, before=before, after=after, expect=MISS)
    hit_before = before.replace(b"Question ", b"Repeated question ")
    hit = Kind(name=MEMORY, before=hit_before, after=after, cycle=HITS, expect="detail=memory")
    redis = Kind(name=REDIS, before=hit_before, after=after, cycle=HITS, expect="detail=redis")
    static = Kind(name=STATIC, before=before, after=after, path="/static")
    big = Kind(name=BIG, before=big_before, after=big_after, expect=MISS)
    stream = Kind(name=STREAM, before=stream_before, after=stream_after, expect=MISS)
    return (
        Work(name=CHAT, servers=("gateway", "bare", "litellm"), kind=chat),
        Work(name=BIG, servers=("gateway", "bare", "litellm"), kind=big),
        Work(name=STREAM, servers=("gateway", "bare", "litellm"), kind=stream, connections=STREAMS),
        Work(name=MEMORY, servers=("gateway", "litellm"), kind=hit),
        Work(name=REDIS, servers=("gateway-redis",), kind=redis),
        Work(name=STATIC, servers=("bare",), kind=static),
        Work(name=WORKERS, servers=("gateway-2",), kind=chat),
        Work(name=BUDGETS, servers=("gateway-budgets",), kind=chat),
        Work(name=SEMANTIC, servers=("gateway-semantic",), kind=chat),
        Work(name=AT_RATES[50], servers=("gateway", "bare", "litellm"), kind=chat, rate=50.0),
        Work(name=AT_RATES[200], servers=("gateway", "bare"), kind=chat, rate=200.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """CPU per request of `work` on `server` over that of `against_work` on `against`; no limit: told, not judged."""

    work: str
    server: str
    against_work: str
    against: str
    at_most: float | None


TARGETS: tuple[Target, ...] = (
    Target(work=CHAT, server="gateway", against_work=CHAT, against="bare", at_most=2.0),
    Target(work=BIG, server="gateway", against_work=BIG, against="bare", at_most=2.0),
    Target(work=STREAM, server="gateway", against_work=STREAM, against="bare", at_most=1.5),
    Target(work=MEMORY, server="gateway", against_work=STATIC, against="bare", at_most=2.0),
    Target(work=REDIS, server="gateway-redis", against_work=STATIC, against="bare", at_most=6.0),
    Target(work=WORKERS, server="gateway-2", against_work=CHAT, against="gateway", at_most=1.1),
    Target(work=BUDGETS, server="gateway-budgets", against_work=CHAT, against="bare", at_most=2.0),
    Target(work=SEMANTIC, server="gateway-semantic", against_work=CHAT, against="bare", at_most=None),
)
BUDGETED = """
budgets:
  - {scope: tenant, limit_usd: 100000, window: day}
rate_limits:
  - {scope: key, requests_per_minute: 100000000, tokens_per_minute: 100000000000}
"""
"""Added to the shipped policy: limits that are counted and never reached."""
ADDED_P99_MS: Mapping[int, float] = {200: 2.0}
"""At so many requests a second, by so much may the gateway's p99 be above the bare proxy's."""
ONE_WORKER_MIB = 1.15 * 193
FURTHER_WORKER_MIB = 60.0
EMBEDDER_MIB = 200.0
ELSEWHERE = "semantic hits: make bench-semantic. The semantic tier is off, but where every question is embedded."
