"""`make bench`: the table of performance.md for this machine, in interleaved rounds; text, JSON and PNG.

Needs two cores and Linux. Nothing else should run on the machine: the load average is part of the title.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from gateway.settings import SHIPPED
from tests.bench import report
from tests.bench.machine import described, memory_kib
from tests.bench.measure import Bench, Measured
from tests.bench.servers import (
    Server,
    bare,
    gateway,
    generator,
    is_peer_installed,
    litellm,
    provider,
)
from tests.bench.verdicts import Measurements, Verdict, memory_rows, rate_rows, ratio_rows, troubles
from tests.bench.works import BUDGETED, Work, works

RESULTS = Path("bench-results")
PLAIN = ("--embedder", "off")


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, not how fast is it")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=float, default=0.0, help="of one measurement (3)")
    parser.add_argument("--only", default="", help="part of the names of the work to measure, such as chat")
    parser.add_argument("--no-peers", action="store_true", help="leave LiteLLM's proxy out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the JSON and PNG files")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.8 if options.quick else 3.0)
    return options


@contextmanager
def servers(upstream_of: Bench, *, with_peer: bool) -> Iterator[dict[str, Server]]:
    """Start every server; they idle while another one is measured."""
    upstream, shipped = upstream_of.upstream, (SHIPPED / "default.yaml").read_text()
    with ExitStack() as stack:
        started = [
            stack.enter_context(bare(upstream)),
            stack.enter_context(gateway(upstream, *PLAIN)),
            stack.enter_context(gateway(upstream, *PLAIN, "--memory-cache-bytes=0", name="gateway-redis")),
            stack.enter_context(gateway(upstream, *PLAIN, name="gateway-2", workers=2)),
            stack.enter_context(gateway(upstream, *PLAIN, name="gateway-budgets", policy=shipped + BUDGETED)),
            stack.enter_context(gateway(upstream, name="gateway-semantic")),
        ]
        if with_peer:
            started.append(stack.enter_context(litellm(upstream)))
        yield {server.name: server for server in started}


def measured_rounds(
    bench: Bench, running: Mapping[str, Server], chosen: Sequence[Work], options: argparse.Namespace, console: Console
) -> Iterator[Measured]:
    """Go through all work round by round, the servers of each work one after the other."""
    for number in range(options.rounds):
        for work in chosen:
            seconds = options.seconds * (2 if work.rate else 1)
            # Every other round the other way round: who comes second must not always be the same.
            order = work.servers if number % 2 == 0 else work.servers[::-1]
            for name in order:
                if name not in running:
                    continue
                server = running[name]
                load = work.load(server, seconds=seconds, seed=number)
                one = bench.measure(server, load, work=work.name, number=number)
                line = f"  round {number + 1}  {work.name:26} {name:14} {one.cpu_ms:8.3f} ms CPU {one.rps:8,.0f} rps"
                console.print(f"{line}  p50 {one.told.p50_ms:.2f}  p99 {one.told.p99_ms:.2f} ms", highlight=False)
                yield one


def memory_of(running: Mapping[str, Server]) -> list[Verdict]:
    """Return the rows about memory, after the load."""
    pss = {name: memory_kib(server.pids)[1] / 1024 for name, server in running.items()}
    embedder = memory_kib(running["gateway-semantic"].embedder)[1] / 1024
    peer = pss.get("litellm")
    return list(memory_rows(pss["gateway"], pss["gateway-2"], pss["bare"], peer_mib=peer, embedder_mib=embedder))


def main() -> int:
    """Measure, print, write; 1 where requests failed."""
    options = options_of(sys.argv[1:])
    console = Console(width=report.WIDTH)
    with_peer = is_peer_installed() and not options.no_peers
    if not with_peer:
        console.print("LiteLLM's proxy is left out: `make bench-peers` installs it into .venv-peers")
    about = described()
    with provider() as upstream, generator() as load:
        bench = Bench(generator=load, upstream=upstream)
        with servers(bench, with_peer=with_peer) as running:
            chosen = [work for work in works() if options.only in work.name]
            measured = list(measured_rounds(bench, running, chosen, options, console))
            memory = memory_of(running)
    found = Measurements(measured)
    verdicts = [*ratio_rows(found), *rate_rows(found), *memory]
    verdicts = [row for row in verdicts if row.value is not None]
    report.show(console, about, verdicts, measured)
    for trouble in troubles(measured):
        console.print(f"DOUBTFUL: {trouble}", highlight=False, markup=False)
    options.out.mkdir(parents=True, exist_ok=True)
    report.write_json(options.out / "bench.json", about, verdicts, measured)
    report.plot(options.out / "bench.png", about, verdicts)
    console.print(f"written: {options.out}/bench.json, {options.out}/bench.png")
    return 1 if any(one.faults > 0.01 * one.told.requests for one in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
