"""`make soak-long`: 200,000 requests of mixed work through the real process at full speed; nothing may grow.

Watches the worker: RSS, open files, asyncio tasks by name and objects alive; series of /metrics, memory of its Redis.
The first WARM_SHARE of the requests is a run of its own and judged by its answers alone: by its end the memory cache
(8 MiB, full after 20,000), the pool of tasks, the kept outcomes and what is known of strangers have filled, each kind
of failure has been met, and the deployment that always fails has been taken out of service (1,000 failures: 33,000
requests). With much fewer requests than 200,000 it only shows that it runs. What counts as growth: soaked.py. The
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
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import TypedDict

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
from tests.bench.soaked import FILES_MAY_DIFFER, MAX_REDIS_BYTES, Sample, Soaked
from tests.bench.table import RESULTS
from tests.e2e.serving import request

WARM_SHARE = 0.4
OPTIONS = (
    "--memory-cache-bytes=8MiB",
    "--simulated-latency-scale=0",
    "--max-connections-per-key=4000",
    "--retry-backoff-s=0.01",
)
SETTLE_S = 40.0
clock = SystemClock()


class Within(TypedDict):
    """What the worker says of itself (watched.py)."""

    tasks: dict[str, int]
    blocks: int


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
            **self.told(),
        )

    def told(self) -> Within:
        """Ask the worker for its tasks and objects."""
        told = Path(f"{self.tasks_file}.{self.worker}")
        told.unlink(missing_ok=True)
        os.kill(self.worker, signal.SIGUSR2)
        for _ in range(1000):
            if told.exists() and (text := told.read_text()).endswith("\n"):
                return msgspec.json.decode(text, type=Within)
            sleep(0.01)
        raise AssertionError("the worker does not answer SIGUSR2")

    def series(self) -> frozenset[str]:
        """Return the series that a scrape finds."""
        lines = request(self.server.url, "/metrics").body.splitlines()
        return frozenset(line.rpartition(" ")[0] for line in lines if not line.startswith("#"))

    def redis_bytes(self) -> int:
        """Return what Redis says it uses."""
        assert self.server.home is not None
        reply = asyncio.run(asked(self.server.home / "data", ("INFO", "memory")))
        assert isinstance(reply, bytes)
        return next(int(line.split(b":")[1]) for line in reply.splitlines() if line.startswith(b"used_memory:"))


def soak(requests: int, connections: int, console: Console) -> Soaked:
    """Run everything and return what was seen."""
    soaked, warm = Soaked(connections=connections), round(requests * WARM_SHARE)
    with tempfile.TemporaryDirectory(prefix="fw-soak-") as folder, provider() as upstream, generator() as load:
        tasks_file = Path(folder) / "tasks"
        command = ("-m", "tests.bench.watched", str(tasks_file))
        with gateway(upstream, *OPTIONS, models=models(upstream), policy=POLICY, command=command) as server:
            watch, started_s = Watch(server=server, tasks_file=tasks_file), clock.monotonic()
            soaked.before = watch.sample(started_s)
            with ThreadPoolExecutor(max_workers=1) as pool:
                for count, seed in ((warm, 0), (requests - warm, 1)):
                    soaked.series_warm = watch.series()
                    soaked.warm_s = clock.monotonic() - started_s
                    order = Load(
                        port=server.port, kinds=kinds(server.key), requests=count, connections=connections, seed=seed
                    )
                    follow(soaked, watch, pool.submit(load.run, order), started_s, console)
            soaked.after = settled(watch, soaked.before)
            soaked.series_end = watch.series()
            soaked.redis_bytes = watch.redis_bytes()
    return soaked


def follow(soaked: Soaked, watch: Watch, running: Future[Told], started_s: float, console: Console) -> None:
    """Sample until the load has ended."""
    while not running.done():
        sleep(0.5)
        soaked.samples.append(watch.sample(started_s))
        last = soaked.samples[-1]
        if len(soaked.samples) % 40 == 0:
            tasks = f"{last.files} files  {sum(last.tasks.values())} tasks"
            console.print(f"  {last.at_s:5.0f} s  {last.rss_kib / 1024:.1f} MiB  {tasks}", highlight=False)
    soaked.told.append(running.result())


def settled(watch: Watch, before: Sample) -> Sample:
    """Return the worker once it holds no more than before, or what it still holds after a while."""
    for _ in range(int(SETTLE_S)):
        sample = watch.sample(0.0)
        if not sample.more_than(before) and sample.files <= before.files + FILES_MAY_DIFFER:
            return sample
        sleep(1.0)
    return watch.sample(0.0)


def table_of(soaked: Soaked, about: dict[str, str]) -> Table:
    """Return the figures."""
    title = f"{about['machine']}, {about['date']}, commit {about['commit']}, load average {about['load']}"
    table = Table("what", "figure", title=f"soak of mixed work\n{title}", width=110)
    assert soaked.before is not None
    assert soaked.after is not None
    before, after = soaked.before, soaked.after
    total, took_s = sum(told.requests for told in soaked.told), sum(told.elapsed_s for told in soaked.told)
    table.add_row("requests", f"{total:,} in {took_s:.0f} s, {total / took_s:,.0f} a second")
    table.add_row("kinds", counted(told.kinds for told in soaked.told))
    table.add_row("statuses", counted(told.statuses for told in soaked.told))
    for what, found in (
        ("worker's RSS, KiB per 1,000 requests", soaked.memory()),
        ("objects per request", soaked.objects()),
    ):
        if found is not None:
            bounds = f"95 % interval {found.least:+.2f} to {found.most:+.2f}"
            table.add_row(what, f"{found.per_x:+.2f}, {bounds}, of the last {soaked.told[-1].requests:,} requests")
    table.add_row("worker's RSS, MiB", f"{before.rss_kib / 1024:.1f} before, {after.rss_kib / 1024:.1f} after")
    busy = [sum(sample.tasks.values()) - sample.idle for sample in (before, after)]
    table.add_row("tasks", f"{busy[0]} before, {busy[1]} after, {after.idle} more that wait for a job")
    table.add_row("open files", f"{before.files} before, {after.files} after")
    table.add_row("series", f"{len(soaked.series_warm):,} after the warm-up, {len(soaked.series_end):,} after")
    table.add_row("Redis, MiB", f"{soaked.redis_bytes / 2**20:.0f} of at most {MAX_REDIS_BYTES / 2**20:.0f}")
    problems = tuple(soaked.problems())
    table.add_row("verdict", "\n".join(problems) if problems else "flat: nothing grows")
    return table


def counted(counts: Iterable[Mapping[str, int]]) -> str:
    """Return the sums by name, in words."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return ", ".join(f"{name} {number:,}" for name, number in sorted(total.items()))


def plot(path: Path, soaked: Soaked, about: dict[str, str]) -> None:
    """Draw RSS, tasks and files over time."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    at_s = [sample.at_s for sample in soaked.samples]
    upper.plot(at_s, [sample.rss_kib / 1024 for sample in soaked.samples])
    upper.axvline(soaked.warm_s, color="tab:gray", linestyle=":", label="end of the warm-up")
    upper.set_ylim(0, 1.2 * max(sample.rss_kib for sample in soaked.samples) / 1024)
    upper.set_ylabel("RSS of the worker, MiB")
    upper.legend()
    lower.plot(at_s, [sum(sample.tasks.values()) for sample in soaked.samples], label="asyncio tasks")
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
