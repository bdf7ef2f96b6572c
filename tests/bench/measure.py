"""One measurement: a load against a server, and what CPU it took in every process. Judges nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tests.bench.machine import cpu_s
from tests.bench.orders import Load, Told
from tests.bench.servers import Generator, Process, Server

WARM_UP_S = 0.4
BUSY_SHARE = 0.9
"""Of their core, generator and provider together: above it they, not the server, may be what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """CPU in milliseconds per request: of the server's own processes; its Redis, warmer and embedder apart.

    `load_share` and `provider_share` are shares of the core that both run on, `server_share` of the server's.
    """

    work: str
    server: str
    round: int
    told: Told
    cpu_ms: float
    redis_ms: float
    warmer_ms: float
    embedder_ms: float
    server_share: float
    load_share: float
    provider_share: float

    @property
    def rps(self) -> float:
        return self.told.requests / self.told.elapsed_s

    @property
    def faults(self) -> int:
        """Requests that did not get what they should."""
        return self.told.wrong + self.told.broken

    @property
    def is_load_bound(self) -> bool:
        """Whether the load's side of the machine may have been the bottleneck."""
        return self.load_share + self.provider_share > BUSY_SHARE and self.server_share < BUSY_SHARE


@dataclass(slots=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    generator: Generator
    upstream: Process

    def measure(self, server: Server, load: Load, *, work: str, number: int = 0) -> Measured:
        """Warm up for a moment, then run the load once."""
        if not load.rate:
            self.generator.run(msgspec.structs.replace(load, seconds=min(WARM_UP_S, load.seconds), requests=0))
        helpers = (server.redis, server.warmer, server.embedder)
        processes = (server.pids, *helpers, self.generator.process.pids, self.upstream.pids)
        before_s = [cpu_s(pids) for pids in processes]
        told = self.generator.run(load)
        used_s = [cpu_s(pids) - earlier_s for pids, earlier_s in zip(processes, before_s, strict=True)]
        each_ms = [1000 * seconds / max(1, told.requests) for seconds in used_s]
        return Measured(
            work=work,
            server=server.name,
            round=number,
            told=told,
            cpu_ms=each_ms[0],
            redis_ms=each_ms[1],
            warmer_ms=each_ms[2],
            embedder_ms=each_ms[3],
            server_share=used_s[0] / told.elapsed_s,
            load_share=used_s[4] / told.elapsed_s,
            provider_share=used_s[5] / told.elapsed_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median with the least and the most of the rounds."""

    median: float
    least: float
    most: float

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.least:{form}}–{self.most:{form}})"


def spread(values: Sequence[float]) -> Spread | None:
    """Return the median and the extremes, None without values."""
    if not values:
        return None
    return Spread(median=statistics.median(values), least=min(values), most=max(values))
