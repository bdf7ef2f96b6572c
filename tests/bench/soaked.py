"""What `make soak-long` saw and whether anything grew. Pure.

A request's own memory is told from a leak by what is kept: the least object that Python can keep takes 16 bytes and 8
for who keeps it. RSS alone cannot tell: it is the most that was ever in use, so it creeps for a while by a few bytes a
request in which nothing is kept. So it must both be told apart from flat and be more than that; what Python's allocator
has handed out and not taken back (`blocks`, objects of up to 512 bytes) has no such memory and is counted beside it.
Where a run is too short or too noisy to find a leak of one small object a request, it says so and counts as failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errands import IDLE
from tests.bench.orders import Told
from tests.bench.slope import Slope, slope

LEAST_KIB = 24 * 1000 / 1024
"""Per 1,000 requests: the least that one kept object takes."""
SMALL_KIB = 200 * 1000 / 1024
"""Per 1,000 requests: a leak of 200 bytes a request; what could hide that has shown nothing."""
LEAST_BLOCKS, SMALL_BLOCKS = 0.25, 1.0
"""Per request."""
MAX_REDIS_BYTES = 512 * 1024**2
FILES_MAY_DIFFER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The worker at one moment; `tasks` are asyncio's, by name."""

    at_s: float
    rss_kib: int
    blocks: int
    files: int
    tasks: Mapping[str, int]

    @property
    def idle(self) -> int:
        """Tasks of the pool that wait for their next job (gateway/errands.py)."""
        return self.tasks.get(IDLE, 0)

    def more_than(self, before: Sample) -> Mapping[str, int]:
        """Return the tasks that were not there before; those that only wait for a job are bounded, and are not told."""
        more = Counter(self.tasks) - Counter(before.tasks)
        del more[IDLE]
        return dict(more)


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What was seen. `samples` are of the warm-up and what followed; `warm_s` is when that began."""

    connections: int
    samples: list[Sample] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    warm_s: float = 0.0
    before: Sample | None = None
    after: Sample | None = None
    series_warm: frozenset[str] = frozenset()
    series_end: frozenset[str] = frozenset()
    redis_bytes: int = 0

    def memory(self) -> Slope | None:
        """Return the growth of the worker's RSS in KiB per 1,000 requests, after the warm-up."""
        return self._growth([sample.rss_kib for sample in self._late()], per=1000)

    def objects(self) -> Slope | None:
        """Return the growth in allocated blocks per request, after the warm-up."""
        return self._growth([sample.blocks for sample in self._late()], per=1)

    def problems(self) -> Iterator[str]:
        """Yield what must not be, in words."""
        before, after = self.before, self.after
        if len(self.told) < 2 or before is None or after is None:
            yield "the run did not end"
            return
        for told in self.told:
            if told.wrong or told.broken:
                yield f"{told.wrong} answers of a wrong status, {told.broken} broken: {told.statuses}: {told.sample}"
        yield from _growing(self.memory(), "RSS", "KiB per 1,000 requests", least=LEAST_KIB, small=SMALL_KIB)
        yield from _growing(self.objects(), "objects", "a request", least=LEAST_BLOCKS, small=SMALL_BLOCKS)
        if more := after.more_than(before):
            yield f"tasks that were not there before: {more}"
        if after.idle > 2 * self.connections:
            yield f"{after.idle} tasks wait for a job, where {self.connections} requests at most were under way"
        if after.files > before.files + FILES_MAY_DIFFER:
            yield f"{after.files} files are open, there were {before.files}"
        if new := sorted(self.series_end - self.series_warm):
            yield f"{len(new)} series began after the warm-up: {', '.join(new[:5])}"
        if self.redis_bytes > MAX_REDIS_BYTES * 1.05:
            yield f"Redis holds {self.redis_bytes} bytes, the most allowed is {MAX_REDIS_BYTES}"

    def _late(self) -> Sequence[Sample]:
        return [sample for sample in self.samples if sample.at_s > self.warm_s]

    def _growth(self, values: Sequence[float], *, per: int) -> Slope | None:
        if len(self.told) < 2:
            return None
        rate = self.told[-1].requests / self.told[-1].elapsed_s / per
        return slope([(one.at_s * rate, float(value)) for one, value in zip(self._late(), values, strict=True)])


def _growing(found: Slope | None, what: str, unit: str, *, least: float, small: float) -> Iterator[str]:
    if found is None:
        yield f"{what}: too few samples for a slope: run more requests"
        return
    told = f"{found.per_x:.2f} {unit} ({found.least:.2f} to {found.most:.2f})"
    if not found.is_flat and found.per_x > least:
        yield f"{what}: grows: {told}"
    elif found.most > small:
        yield f"{what}: cannot tell: {told}: run more requests, or on a quieter machine"
