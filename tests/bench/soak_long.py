"""`make soak-long`: 200,000 requests of mixed work through the real process at full speed; nothing may grow.

Watches from outside: RSS, open files and asyncio tasks of the worker, series of /metrics, memory of its Redis. The
faults of providers and Redis have a soak of their own (`make soak`).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

import msgspec
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from gateway.clock import SystemClock
from tests.bench.filling import asked
from tests.bench.machine import described, memory_kib, open_files
from tests.bench.mix import POLICY, kinds, models
from tests.bench.orders import Load, Told
from tests.bench.servers import Server, gateway, generator, provider
from tests.bench.slope import Slope, slope
from tests.bench.table import RESULTS
from tests.e2e.serving import request

WARM_SHARE = 0.4
"""Until then the memory cache fills, pools grow and code is met for the first time."""
OPTIONS = (
    "--memory-cache-bytes=8MiB",
    "--simulated-latency-scale=0",
    "--max-connections-per-key=4000",
    "--retry-backoff-s=0.01",
)
SETTLE_S = 40.0
MAX_REDIS_BYTES = 512 * 1024**2
TASKS_MAY_DIFFER = 4
FILES_MAY_DIFFER = 8
clock = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The worker at one moment; `share` of the run's requests that had been answered, nearly."""

    at_s: float
    rss_kib: int
    files: int
    tasks: int


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What was seen."""

    samples: list[Sample] = field(default_factory=list)
    told: Told | None = None
    before: Sample | None = None
    after: Sample | None = None
    series_warm: int = 0
    series_end: int = 0
    redis_bytes: int = 0

    def memory(self) -> Slope | None:
        """Return the growth of the worker's RSS in KiB per 1,000 requests, after the warm-up."""
        if self.told is None or not self.samples:
            return None
        ends_s = self.samples[-1].at_s
        per_s = self.told.requests / 1000 / self.told.elapsed_s
        late = [(one.at_s * per_s, float(one.rss_kib)) for one in self.samples if one.at_s > WARM_SHARE * ends_s]
        return slope(late)

    def problems(self) -> Iterator[str]:
        """Yield what must not be, in words."""
        memory, told, before, after = self.memory(), self.told, self.before, self.after
        if told is None or before is None or after is None:
            yield "the run did not end"
            return
        if told.wrong or told.broken:
            yield f"{told.wrong} answers of a wrong status, {told.broken} broken off: {told.statuses}: {told.sample}"
        if memory is None:
            yield "too few samples for a slope: run more requests"
        elif not memory.is_flat:
            yield f"memory grows: {memory.per_x:.2f} KiB per 1,000 requests ({memory.least:.2f} to {memory.most:.2f})"
        if after.tasks > before.tasks + TASKS_MAY_DIFFER:
            yield f"{after.tasks} tasks are left, there were {before.tasks}"
        if after.files > before.files + FILES_MAY_DIFFER:
            yield f"{after.files} files are open, there were {before.files}"
        if self.series_end > self.series_warm:
            yield f"{self.series_end} series at the end, {self.series_warm} after the warm-up"
        if self.redis_bytes > MAX_REDIS_BYTES * 1.05:
            yield f"Redis holds {self.redis_bytes} bytes, the most allowed is {MAX_REDIS_BYTES}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How the one worker of a gateway is looked at."""

    server: Server
    tasks_file: Path

    @property
    def worker(self) -> int:
        """The worker: the last of the gateway's own processes, the first being its parent."""
        return self.server.pids[-1]

    def sample(self, started_s: float) -> Sample:
        """Look once."""
        pids = (self.worker,)
        return Sample(
            at_s=clock.monotonic() - started_s,
            rss_kib=memory_kib(pids)[0],
            files=open_files(pids),
            tasks=self.tasks(),
        )

    def tasks(self) -> int:
        """Ask the worker how many asyncio tasks it has."""
        told = Path(f"{self.tasks_file}.{self.worker}")
        told.unlink(missing_ok=True)
        os.kill(self.worker, signal.SIGUSR2)
        for _ in range(1000):
            if told.exists() and (text := told.read_text()):
                return int(text)
            sleep(0.01)
        raise AssertionError("the worker does not answer SIGUSR2")

    def series(self) -> int:
        """Count the series that a scrape finds."""
        lines = request(self.server.url, "/metrics").body.splitlines()
        return sum(not line.startswith("#") for line in lines)

    def redis_bytes(self) -> int:
        """Return what Redis says it uses."""
        assert self.server.home is not None
        reply = asyncio.run(asked(self.server.home / "data", ("INFO", "memory")))
        assert isinstance(reply, bytes)
        return next(int(line.split(b":")[1]) for line in reply.splitlines() if line.startswith(b"used_memory:"))


def soak(requests: int, connections: int, console: Console) -> Soaked:
    """Run everything and return what was seen."""
    soaked = Soaked()
    with tempfile.TemporaryDirectory(prefix="fw-soak-") as folder, provider() as upstream, generator() as load:
        tasks_file = Path(folder) / "tasks"
        command = ("-m", "tests.bench.watched", str(tasks_file))
        with gateway(upstream, *OPTIONS, models=models(upstream), policy=POLICY, command=command) as server:
            watch = Watch(server=server, tasks_file=tasks_file)
            soaked.before = watch.sample(clock.monotonic())
            order = Load(port=server.port, kinds=kinds(server.key), requests=requests, connections=connections)
            with ThreadPoolExecutor(max_workers=1) as pool:
                follow(soaked, watch, pool.submit(load.run, order), console)
            soaked.after = settled(watch, soaked.before)
            soaked.series_end = watch.series()
            soaked.redis_bytes = watch.redis_bytes()
    return soaked


def follow(soaked: Soaked, watch: Watch, running: Future[Told], console: Console) -> None:
    """Sample until the load has ended; the series are counted when every kind of request has been seen."""
    started_s = clock.monotonic()
    while not running.done():
        sleep(0.5)
        soaked.samples.append(watch.sample(started_s))
        last = soaked.samples[-1]
        if len(soaked.samples) % 40 == 0:
            soaked.series_warm = soaked.series_warm or watch.series()
            told = f"  {last.at_s:5.0f} s  {last.rss_kib / 1024:.1f} MiB  {last.files} files  {last.tasks} tasks"
            console.print(told, highlight=False)
    soaked.told = running.result()
    soaked.series_warm = soaked.series_warm or watch.series()


def settled(watch: Watch, before: Sample) -> Sample:
    """Return the worker once it holds no more than before, or what it still holds after a while."""
    for _ in range(int(SETTLE_S)):
        sample = watch.sample(0.0)
        if sample.tasks <= before.tasks + TASKS_MAY_DIFFER and sample.files <= before.files + FILES_MAY_DIFFER:
            return sample
        sleep(1.0)
    return watch.sample(0.0)


def table_of(soaked: Soaked, about: dict[str, str]) -> Table:
    """Return the figures."""
    title = f"{about['machine']}, {about['date']}, commit {about['commit']}, load average {about['load']}"
    table = Table("what", "figure", title=f"soak of mixed work\n{title}", width=110)
    told, memory = soaked.told, soaked.memory()
    assert told is not None
    assert soaked.before is not None
    assert soaked.after is not None
    table.add_row(
        "requests", f"{told.requests:,} in {told.elapsed_s:.0f} s, {told.requests / told.elapsed_s:,.0f} a second"
    )
    table.add_row("kinds", ", ".join(f"{name} {count:,}" for name, count in sorted(told.kinds.items())))
    table.add_row("statuses", ", ".join(f"{status} {count:,}" for status, count in sorted(told.statuses.items())))
    if memory is not None:
        bounds = f"95 % interval {memory.least:+.2f} to {memory.most:+.2f}"
        table.add_row("worker's RSS, KiB per 1,000 requests", f"{memory.per_x:+.2f}, {bounds}")
    table.add_row(
        "worker's RSS, MiB", f"{soaked.before.rss_kib / 1024:.1f} before, {soaked.after.rss_kib / 1024:.1f} after"
    )
    table.add_row("tasks", f"{soaked.before.tasks} before, {soaked.after.tasks} after")
    table.add_row("open files", f"{soaked.before.files} before, {soaked.after.files} after")
    table.add_row("series", f"{soaked.series_warm:,} after the warm-up, {soaked.series_end:,} after")
    table.add_row("Redis, MiB", f"{soaked.redis_bytes / 2**20:.0f} of at most {MAX_REDIS_BYTES / 2**20:.0f}")
    problems = tuple(soaked.problems())
    table.add_row("verdict", "\n".join(problems) if problems else "flat: nothing grows")
    return table


def plot(path: Path, soaked: Soaked, about: dict[str, str]) -> None:
    """Draw RSS, tasks and files over time."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    at_s = [sample.at_s for sample in soaked.samples]
    upper.plot(at_s, [sample.rss_kib / 1024 for sample in soaked.samples])
    upper.axvline(at_s[-1] * WARM_SHARE, color="tab:gray", linestyle=":", label="end of the warm-up")
    upper.set_ylim(0, 1.2 * max(sample.rss_kib for sample in soaked.samples) / 1024)
    upper.set_ylabel("RSS of the worker, MiB")
    upper.legend()
    lower.plot(at_s, [sample.tasks for sample in soaked.samples], label="asyncio tasks")
    lower.plot(at_s, [sample.files for sample in soaked.samples], label="open files")
    lower.set_xlabel("seconds")
    lower.legend()
    figure.suptitle(f"{about['machine']}, {about['date']}, commit {about['commit']}")
    figure.savefig(path, dpi=110)


def main() -> int:
    """Soak, print, write; 1 where something grows."""
    parser = argparse.ArgumentParser(prog="make soak-long", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=48)
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the JSON and PNG files")
    options = parser.parse_args()
    console, about = Console(width=110), described()
    soaked = soak(options.requests, options.connections, console)
    console.print(table_of(soaked, about))
    options.out.mkdir(parents=True, exist_ok=True)
    document = {
        "about": about,
        "told": msgspec.to_builtins(soaked.told),
        "samples": [dataclasses.asdict(sample) for sample in soaked.samples],
        "problems": list(soaked.problems()),
    }
    (options.out / "soak.json").write_text(json.dumps(document) + "\n")
    plot(options.out / "soak.png", soaked, about)
    console.print(f"written: {options.out}/soak.json, {options.out}/soak.png")
    return 1 if document["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
