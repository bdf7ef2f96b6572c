"""`make bench-growth`: what a request costs as policies, keys, cache, ledger and concurrency grow; it should stay flat.

Every point is measured between two runs of the bare proxy, which does not grow: what the machine does to one, it does
to the other. Needs about 1 GB of memory for the million cache entries.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.bench.filling import cache_entries, fill, keys_of, ledger_entries, secrets_of
from tests.bench.machine import described
from tests.bench.measure import Bench, Measured, Spread, spread
from tests.bench.orders import Kind, Load
from tests.bench.payloads import chat_body
from tests.bench.samples import policy_of
from tests.bench.servers import Server, bare, gateway, generator, models_yaml, provider
from tests.bench.table import RESULTS
from tests.e2e.serving import request, until

FLAT = 1.25
"""So much dearer may a request be at the far end than at the near one, in units of the bare proxy's cost."""
Grow = Callable[[int], tuple[Server, Kind, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a request costs at one size. `relative` is the server's CPU in units of the bare proxy's at that moment."""

    size: int
    cpu_ms: Spread
    redis_ms: Spread
    relative: Spread
    p99_ms: float
    faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One thing that grew."""

    name: str
    points: tuple[Point, ...]

    @property
    def growth(self) -> float:
        """The far end's cost over the near end's."""
        return self.points[-1].relative.median / self.points[0].relative.median

    @property
    def result(self) -> str:
        if any(point.faults for point in self.points):
            return "requests failed"
        return "near flat" if self.growth <= FLAT else "grows"


@dataclass(slots=True, kw_only=True)
class Growing:
    """The servers, and how each point is measured."""

    bench: Bench
    yardstick: Server
    rounds: int
    seconds: float
    console: Console

    def panel(self, name: str, sizes: Sequence[int], grow: Grow) -> Panel:
        """Grow to each size and measure there; sizes ascend."""
        return Panel(name=name, points=tuple(self._point(name, size, *grow(size)) for size in sizes))

    def _point(self, name: str, size: int, server: Server, kind: Kind, connections: int) -> Point:
        plain = chat_kind("yardstick", self.yardstick.key)
        ours: list[Measured] = []
        theirs = [self._run(self.yardstick, plain, connections)]
        for _ in range(self.rounds):
            ours.append(self._run(server, kind, connections))
            theirs.append(self._run(self.yardstick, plain, connections))
        around = [(a.cpu_ms + b.cpu_ms) / 2 for a, b in pairwise(theirs)]
        relative = spread([one.cpu_ms / bare_ms for one, bare_ms in zip(ours, around, strict=True)])
        cpu_ms, redis_ms = spread([one.cpu_ms for one in ours]), spread([one.redis_ms for one in ours])
        assert relative is not None
        assert cpu_ms is not None
        assert redis_ms is not None
        point = Point(
            size=size,
            cpu_ms=cpu_ms,
            redis_ms=redis_ms,
            relative=relative,
            p99_ms=max(one.told.p99_ms for one in ours),
            faults=sum(one.faults for one in ours),
        )
        told = f"  {name:34} {size:>9,}  {cpu_ms:.3f} ms CPU  {relative:.2f} × bare  redis {redis_ms.median:.3f} ms"
        self.console.print(f"{told}  {ours[0].told.statuses}", highlight=False)
        return point

    def _run(self, server: Server, kind: Kind, connections: int) -> Measured:
        load = Load(port=server.port, kinds=(kind,), connections=connections, seconds=self.seconds)
        return self.bench.measure(server, load, work=kind.name)


def chat_kind(name: str, *keys: str, **fields: object) -> Kind:
    """Return unique plain chat requests of these keys, in turn."""
    before, after = chat_body()
    cycle = fields.get("cycle", 0)
    assert isinstance(cycle, int)
    before = before.replace(b"Question ", name.encode() + b" ")
    return Kind(name=name, before=before, after=after, keys=keys, cycle=cycle)


def home_of(server: Server) -> Path:
    """Return the directory of a gateway that we started."""
    assert server.home is not None
    return server.home


def routes(growing: Growing, server: Server, sizes: Sequence[int]) -> Panel:
    """More routes, none of which but the last holds for the request; each policy is put in force as it runs."""
    file = home_of(server) / "policies" / "default.yaml"
    seen = [version_of(server)]

    def grow(size: int) -> tuple[Server, Kind, int]:
        file.write_text(policy_of(size))
        until(lambda: version_of(server) != seen[-1], f"a policy of {size} routes")
        seen.append(version_of(server))
        return server, chat_kind("routes", server.key), 32

    return growing.panel("routes passed over", sizes, grow)


def version_of(server: Server) -> str:
    """Return the version of the policy in force."""
    ready = json.loads(request(server.url, "/health/ready").body)
    return str(ready["policies"]["default"])


def keys(growing: Growing, server: Server, sizes: Sequence[int], *, used: int | None) -> Panel:
    """More keys, each of a tenant of its own; `used` of them ask (None: all in turn)."""
    made: list[str] = []

    def grow(size: int) -> tuple[Server, Kind, int]:
        new = secrets_of(size - len(made))
        fill(home_of(server) / "data", keys_of(new))
        made.extend(new)
        return server, chat_kind("keys", *made[: used or size]), 32

    return growing.panel(f"keys there are ({'all' if used is None else used} ask)", sizes, grow)


def entries(growing: Growing, server: Server, sizes: Sequence[int]) -> Iterator[Panel]:
    """More answers in Redis: hits from there, then unique requests, which look up, miss and store."""
    filled = [0]

    def hits(size: int) -> tuple[Server, Kind, int]:
        fill(home_of(server) / "data", cache_entries(filled[0], size))
        filled[0] = size
        return server, chat_kind("hits", server.key, cycle=16), 32

    def misses(size: int) -> tuple[Server, Kind, int]:
        return server, chat_kind("misses", server.key), 32

    yield growing.panel("cache entries in Redis: a hit", sizes, hits)
    yield growing.panel("cache entries in Redis: a miss, full", sizes[-1:], misses)


def ledger(growing: Growing, server: Server, sizes: Sequence[int]) -> Panel:
    """A ledger that is nearly empty, then full, then trimmed at every append."""
    filled = [0]

    def grow(size: int) -> tuple[Server, Kind, int]:
        fill(home_of(server) / "data", ledger_entries(size - filled[0]))
        filled[0] = size
        return server, chat_kind("ledger", server.key), 32

    return growing.panel("ledger entries", sizes, grow)


def concurrency(growing: Growing, server: Server, sizes: Sequence[int]) -> Panel:
    """More connections that ask at once."""
    return growing.panel("requests at once", sizes, lambda size: (server, chat_kind("at once", server.key), size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One thing that grows, on a gateway of its own."""

    name: str
    run: Callable[[Growing, Server, Sequence[int]], Iterable[Panel]]
    quick: tuple[int, ...]
    sizes: tuple[int, ...]
    options: tuple[str, ...] = ()
    policy: str = ""
    deployments: int = 1


GROWTHS: tuple[Growth, ...] = (
    Growth(
        name="concurrency",
        run=lambda growing, server, sizes: (concurrency(growing, server, sizes),),
        quick=(1, 10, 100, 200),
        sizes=(1, 10, 100, 1_000, 2_000),
        options=("--max-connections-per-key=4000",),
        deployments=10,  # one has places for 256 calls at once, and a queue of 64 for a tenant
    ),
    Growth(
        name="routes",
        run=lambda growing, server, sizes: (routes(growing, server, sizes),),
        quick=(10, 100),
        sizes=(10, 100, 300, 1_000),
        policy=policy_of(1),
    ),
    Growth(
        name="keys",
        run=lambda growing, server, sizes: (keys(growing, server, sizes, used=10),),
        quick=(10, 1_000),
        sizes=(10, 1_000, 100_000),
    ),
    Growth(
        name="keys in use",
        run=lambda growing, server, sizes: (keys(growing, server, sizes, used=None),),
        quick=(10, 1_000),
        sizes=(10, 100, 1_000, 10_000, 100_000),
    ),
    Growth(
        name="cache",
        run=entries,
        quick=(1_000, 10_000),
        sizes=(1_000, 10_000, 100_000, 1_000_000),
        options=("--memory-cache-bytes=0",),
    ),
    Growth(
        name="ledger",
        run=lambda growing, server, sizes: (ledger(growing, server, sizes),),
        quick=(10, 1_000),
        sizes=(10, 100_000),
    ),
)


def grown(growing: Growing, *, quick: bool, only: str) -> Iterator[Panel]:
    """Measure every panel."""
    for growth in GROWTHS:
        if only in growth.name:
            upstream = growing.bench.upstream
            models = models_yaml(upstream, deployments=growth.deployments)
            with gateway(upstream, *growth.options, policy=growth.policy, models=models) as server:
                yield from growth.run(growing, server, growth.quick if quick else growth.sizes)


def table_of(panels: Sequence[Panel], about: dict[str, str]) -> Table:
    """Return all points."""
    title = f"{about['machine']}, {about['date']}, commit {about['commit']}, load average {about['load']}"
    table = Table(title=f"cost of a request as things grow; median (least–most)\n{title}", width=130)
    for column in ("what grows", "to", "ms CPU", "× bare aiohttp", "ms CPU of Redis", "p99 ms", "failed", ""):
        table.add_column(column, justify="left" if column == "what grows" else "right")
    for panel in panels:
        for point in panel.points:
            is_last = point is panel.points[-1]
            verdict = f"{panel.result}: × {panel.growth:.2f}" if is_last and len(panel.points) > 1 else ""
            figures = (f"{point.cpu_ms:.3f}", f"{point.relative:.2f}", f"{point.redis_ms.median:.3f}")
            failed = str(point.faults) if point.faults else ""
            table.add_row(
                panel.name, f"{point.size:,}", *figures, f"{point.p99_ms:.1f}", failed, verdict, end_section=is_last
            )
    return table


def plot(path: Path, panels: Sequence[Panel], about: dict[str, str]) -> None:
    """Draw a panel each: CPU per request in units of the bare proxy's, over the size."""
    shown = [panel for panel in panels if len(panel.points) > 1]
    figure = Figure(figsize=(15, 8), layout="constrained")
    places = list(figure.subplots(2, 3).flat)
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, shown, strict=False):
        sizes = [point.size for point in panel.points]
        middle = [point.relative.median for point in panel.points]
        low = [point.relative.median - point.relative.least for point in panel.points]
        high = [point.relative.most - point.relative.median for point in panel.points]
        axes.errorbar(sizes, middle, yerr=[low, high], marker="o", capsize=3)
        axes.axhline(middle[0] * FLAT, color="tab:gray", linestyle=":")
        axes.set_xscale("log")
        axes.set_ylim(0, max(*middle, middle[0] * FLAT) * 1.3)
        axes.set_title(f"{panel.name}: {panel.result}")
        axes.set_ylabel("CPU per request, × bare aiohttp")
    figure.suptitle(f"{about['machine']}, {about['date']}, commit {about['commit']}; dotted: {FLAT} × the first")
    figure.savefig(path, dpi=110)


def main() -> int:
    """Measure, print, write; 1 where requests failed."""
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one short round: does it run")
    parser.add_argument("--only", default="", help="part of the names of what grows, such as keys")
    parser.add_argument("--rounds", type=int, default=0, help="of each point (3)")
    parser.add_argument("--seconds", type=float, default=0.0, help="of one measurement (1.5)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the JSON and PNG files")
    options = parser.parse_args()
    rounds, seconds = options.rounds or (1 if options.quick else 3), options.seconds or (0.7 if options.quick else 1.5)
    console, about = Console(width=130), described()
    with provider() as upstream, generator() as load, bare(upstream) as yardstick:
        bench = Bench(generator=load, upstream=upstream)
        growing = Growing(bench=bench, yardstick=yardstick, rounds=rounds, seconds=seconds, console=console)
        panels = tuple(grown(growing, quick=options.quick, only=options.only))
    console.print(table_of(panels, about))
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"about": about, "panels": [{**dataclasses.asdict(panel), "result": panel.result} for panel in panels]}
    (options.out / "growth.json").write_text(json.dumps(document, indent=1) + "\n")
    plot(options.out / "growth.png", panels, about)
    console.print(f"written: {options.out}/growth.json, {options.out}/growth.png")
    return 1 if any(point.faults for panel in panels for point in panel.points) else 0


if __name__ == "__main__":
    sys.exit(main())
