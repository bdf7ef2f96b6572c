"""From measurements to rows: paired ratios, medians over the rounds, met or missed. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.measure import Measured, Spread, spread
from tests.bench.payloads import EVENTS
from tests.bench.works import (
    ADDED_P99_MS,
    AT_RATES,
    EMBEDDER_MIB,
    FURTHER_WORKER_MIB,
    ONE_WORKER_MIB,
    STREAM,
    TARGETS,
    Target,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One row of the table. `limit` None: a figure without a target; `value` None: nothing was measured."""

    what: str
    unit: str
    value: Spread | None
    limit: float | None
    ours: Spread | None = None
    theirs: Spread | None = None
    peer: Spread | None = None
    beside: Spread | None = None

    @property
    def result(self) -> str:
        if self.value is None:
            return "not measured"
        if self.limit is None:
            return ""
        return "met" if self.value.median <= self.limit else "missed"


LATENCIES: Mapping[str, Callable[[Measured], float]] = {
    "p50": lambda one: one.told.p50_ms,
    "p99": lambda one: one.told.p99_ms,
}


class Measurements:
    """All that was measured, by work, server and round."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self._measured = measured

    def of(self, work: str, server: str) -> list[Measured]:
        """Return the rounds of one work on one server, in their order."""
        return [one for one in self._measured if (one.work, one.server) == (work, server)]

    def cpu(self, work: str, server: str) -> Spread | None:
        """Return the CPU per request in milliseconds."""
        return spread([one.cpu_ms for one in self.of(work, server)])

    def beside(self, work: str, server: str) -> Spread | None:
        """Return the CPU per request of Redis, warmer and embedder."""
        return spread([one.redis_ms + one.warmer_ms + one.embedder_ms for one in self.of(work, server)])

    def paired(
        self, mine: tuple[str, str], other: tuple[str, str], pair: Callable[[Measured, Measured], float]
    ) -> Spread | None:
        """Return `pair` of the two measurements of each round: what the machine did to a round, it did to both."""
        return spread([pair(a, b) for a, b in zip(self.of(*mine), self.of(*other), strict=False)])


def ratio_rows(found: Measurements) -> Iterable[Verdict]:
    """Return the rows about CPU per request."""
    for target in TARGETS:
        mine, other = (target.work, target.server), (target.against_work, target.against)
        yield Verdict(
            what=_named(target),
            unit="× CPU",
            value=found.paired(mine, other, lambda a, b: a.cpu_ms / b.cpu_ms),
            limit=target.at_most,
            ours=found.cpu(*mine),
            theirs=found.cpu(*other),
            peer=found.cpu(target.work, "litellm"),
            beside=found.beside(*mine),
        )


def _added(found: Measurements, name: str, of: Callable[[Measured], float], rate: int) -> Verdict:
    work = AT_RATES[rate]
    mine, other = (work, "gateway"), (work, "bare")
    return Verdict(
        what=f"added {name} at {rate} rps",
        unit="ms",
        value=found.paired(mine, other, lambda a, b: of(a) - of(b)),
        limit=ADDED_P99_MS.get(rate) if name == "p99" else None,
        ours=spread([of(one) for one in found.of(*mine)]),
        theirs=spread([of(one) for one in found.of(*other)]),
        peer=spread([of(one) for one in found.of(work, "litellm")]),
    )


def rate_rows(found: Measurements) -> Iterable[Verdict]:
    """Return the rows about latency, and about CPU far from saturation."""
    for rate, work in AT_RATES.items():
        mine, other = (work, "gateway"), (work, "bare")
        for name, of in LATENCIES.items():
            yield _added(found, name, of, rate)
        yield Verdict(
            what=f"CPU at {rate} rps",
            unit="× CPU",
            value=found.paired(mine, other, lambda a, b: a.cpu_ms / b.cpu_ms),
            limit=None,
            ours=found.cpu(*mine),
            theirs=found.cpu(*other),
            peer=found.cpu(work, "litellm"),
            beside=found.beside(*mine),
        )


def memory_rows(
    one_mib: float, two_mib: float, bare_mib: float, *, peer_mib: float | None, embedder_mib: float
) -> Iterable[Verdict]:
    """Return the rows about memory: PSS of the server's processes, in MiB, without Redis and warmer."""
    yield Verdict(
        what="memory, one worker and its parent (PSS)",
        unit="MiB",
        value=_exactly(one_mib),
        limit=ONE_WORKER_MIB,
        ours=_exactly(one_mib),
        theirs=_exactly(bare_mib),
        peer=None if peer_mib is None else _exactly(peer_mib),
    )
    yield Verdict(
        what="a further worker (PSS)",
        unit="MiB",
        value=_exactly(two_mib - one_mib),
        limit=FURTHER_WORKER_MIB,
        ours=_exactly(two_mib),
    )
    yield Verdict(
        what="the embedder (PSS)",
        unit="MiB",
        value=_exactly(embedder_mib),
        limit=EMBEDDER_MIB,
        ours=_exactly(embedder_mib),
    )


def troubles(measured: Sequence[Measured]) -> list[str]:
    """Return what makes a figure doubtful, in words; empty where nothing does."""
    found = []
    for one in measured:
        named = f"{one.work}, {one.server}, round {one.round + 1}"
        told = one.told
        if one.faults or not told.requests:
            found.append(f"{named}: {one.faults} of {told.requests} requests failed: {told.statuses}")
        if one.is_load_bound:
            shares = f"{one.load_share:.0%} and {one.provider_share:.0%}"
            found.append(
                f"{named}: load generator and provider took {shares} of their core: they may be the bottleneck"
            )
        if told.expected < 0.98 * told.requests:
            found.append(f"{named}: only {told.expected} of {told.requests} were the hit or miss they should be")
        if one.work == STREAM and one.server != "litellm" and told.reads < 0.8 * EVENTS:
            found.append(f"{named}: {told.reads:.0f} reads an answer: events came together, which is cheaper")
        if told.late_p99_ms > 5:
            found.append(f"{named}: the load generator itself was {told.late_p99_ms:.0f} ms late (p99): a busy machine")
    return found


def _exactly(value: float) -> Spread:
    return Spread(median=value, least=value, most=value)


def _named(target: Target) -> str:
    against = "" if target.work == target.against_work else f" / {target.against_work}"
    return f"{target.work}{against}"
