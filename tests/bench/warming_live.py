"""`make warming-live`: an hour of the composed bot week, compressed, on two replicas; the warmer that leads is killed
half-way. Then `foreword report --warming`, as an operator would see it.

Real processes, one Redis, a simulated provider with real prices. Exits 1 where an interaction failed, nobody took the
lead over, or an answer that was announced was paid for twice.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from gateway.clock import SystemClock
from gateway.commands.redis import run_with_store
from gateway.ledger import read_ledger
from gateway.outcome import Outcome
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.warming.leader import LEADER
from tests.bench.report_card_bot import Done, Play, played
from tests.bench.report_card_measure import TOLD_S, Setup, provider
from tests.bench.report_card_rows import Row, models_yaml
from tests.bench.report_card_week import Interaction, announcements, is_skipped, slice_of
from tests.e2e.serving import BOUND_S, COMMAND, Served, serving, until

HOUR_S = 3600.0
SETUP = Setup(
    seed=20261127,
    begin_s=66 * HOUR_S,
    end_s=67 * HOUR_S,
    arrivals=20.0,
    latencies=10.0,
    places=1000,
    slo_s=30.0,
    lead_s=90.0,
    tried=0,
    trials=0,
    before_s=3 * HOUR_S,
)
"""Thursday evening, the busiest hour or so; three hours before it make the spend that warming may take a share of."""
LEAD_S = 4.0
"""Seconds, undivided, between an announcement and the post: what a warm at the cheap tier takes here, and some."""
now = SystemClock().monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Two gateways on one Redis, and what it takes to start warmers."""

    url: str
    replicas: Sequence[Served]
    stack: ExitStack

    def start_warmer(self, name: str) -> subprocess.Popen[bytes]:
        """Start `foreword warm` with a data directory of its own."""
        first = self.replicas[0]
        files = ["--policies", str(first.home / "policies"), "--models", str(first.home / "models.yaml")]
        flags = ["--redis-url", self.url, "--data-dir", str(first.home / name), "--embedder", "off"]
        process = subprocess.Popen([*COMMAND, "warm", *flags, *files], env=first.environment, stderr=subprocess.DEVNULL)
        self.stack.callback(process.wait, BOUND_S)
        self.stack.callback(process.kill)
        return process

    def leader(self) -> bytes | None:
        """Return who leads."""
        return run_with_store(self.url, lambda store: store.get(LEADER))

    def warmed(self) -> list[Outcome]:
        """Return what the warmers asked, from the ledger."""

        async def read(store: RedisStore) -> list[Outcome]:
            return [one async for one in read_ledger(store) if one.origin == "warmer"]

        return run_with_store(self.url, read) or []


@contextmanager
def staged() -> Iterator[Stage]:
    """Start Redis, provider and both gateways."""
    policy = Row(name="live", exact=True, warming=True).policy(arrivals=SETUP.arrivals)
    with ExitStack() as stack:
        redis = EmbeddedRedis.start(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fw-"))))
        stack.callback(redis.stop)
        models = models_yaml(stack.enter_context(provider(SETUP)).port)
        options = ("--redis-url", redis.url, "--redis-timeout-s", "1")
        replicas = [stack.enter_context(serving(policy=policy, models=models, options=options)) for _ in range(2)]
        yield Stage(url=redis.url, replicas=replicas, stack=stack)


def part_of(stage: Stage, week: Sequence[Interaction], *, number: int, speed: float, lead_s: float) -> Play:
    """Return what one replica is asked: every other request, and every announcement of those to it."""
    own = week[number::2]
    begin_s = week[0].at_s
    told = announcements(own, before=(), seed=SETUP.seed + number) if lead_s else ()
    return Play(
        url=stage.replicas[number].url,
        key=stage.replicas[0].key,
        week=own,
        due_s=[(one.at_s - begin_s) / speed for one in own],
        announced=[(max(0.0, (one.at_s - begin_s) / speed - lead_s), one) for one in told],
        ready_by_s=SETUP.lead_s,
        lead_in_s=lead_s,
    )


def played_on_both(stage: Stage, week: Sequence[Interaction], *, speed: float, lead_s: float = 0.0) -> list[Done]:
    """Play `week` on both replicas at once."""
    plays = [part_of(stage, week, number=number, speed=speed, lead_s=lead_s) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        return [done for part in pool.map(played, plays) for done in part]


def relieved(stage: Stage, leading: subprocess.Popen[bytes], console: Console) -> bool:
    """Kill the warmer that leads, wait for another to lead, and start one in its place."""
    before = stage.leader()
    leading.kill()
    killed_s = now()
    try:
        until(lambda: stage.leader() not in (None, before), "another leader")
    except AssertionError:
        return False
    console.print(f"the leader was killed (SIGKILL); another leads after {now() - killed_s:.1f} s")
    stage.start_warmer("three")
    return True


def told(stage: Stage, plot: Path, console: Console) -> None:
    """Print what an operator sees."""
    plot.parent.mkdir(parents=True, exist_ok=True)
    home = stage.replicas[0].home / "data"
    flags = ["--redis-url", stage.url, "--data-dir", str(home), "--plot", str(plot)]
    shown = subprocess.run(
        [*COMMAND, "report", "--warming", "--since", "1d", *flags],
        capture_output=True,
        text=True,
        env={**stage.replicas[0].environment, "COLUMNS": "160"},
        timeout=BOUND_S,
        check=False,
    )
    console.print("$ foreword report --warming --since 1d --plot warming.png", highlight=False)
    console.print(shown.stdout + shown.stderr, highlight=False, markup=False)


def main() -> int:
    """Play, kill, report."""
    parser = argparse.ArgumentParser(prog="make warming-live", description=__doc__)
    parser.add_argument("--plot", type=Path, default=Path("bench-results/warming-live.png"))
    options, console = parser.parse_args(), Console(width=160)
    if is_skipped(console):
        return 0
    before = slice_of(SETUP.begin_s - SETUP.before_s, SETUP.begin_s)
    hour = slice_of(SETUP.begin_s, SETUP.end_s)
    with staged() as stage:
        leading = stage.start_warmer("one")
        until(lambda: stage.leader() is not None, "a leader", alive=leading)
        stage.start_warmer("two")
        console.print(f"two gateways, two warmers, one Redis; first {len(before)} requests of the three hours before")
        done = played_on_both(stage, before, speed=3 * SETUP.arrivals)
        middle = len(hour) // 2
        done += played_on_both(stage, hour[:middle], speed=SETUP.arrivals, lead_s=LEAD_S)
        is_relieved = relieved(stage, leading, console)
        done += played_on_both(stage, hour[middle:], speed=SETUP.arrivals, lead_s=LEAD_S)
        told_s = now() + TOLD_S
        until(lambda: now() > told_s, "the warmer's account")
        told(stage, options.plot, console)
        warms = stage.warmed()
    return int(counted(done, warms, console) or not is_relieved)


def counted(done: Sequence[Done], warms: Sequence[Outcome], console: Console) -> bool:
    """Print what was asked; return whether anything failed or was paid for twice."""
    asked = Counter(one.cache_key for one in warms if one.cache_key and one.result == "ok")
    twice = [key for key, count in asked.items() if count > 1 and not _has_ended_between(warms, key)]
    failed = sum(not one.is_ok for one in done)
    cost = sum(one.cost_nanousd or 0 for one in warms) / 1e9
    console.print(f"{len(done)} interactions, {failed} failed; {len(warms)} calls by warmers, {cost:.4f} USD")
    console.print(f"answers that a warmer paid for twice while the first was good: {len(twice)}")
    return bool(failed or twice)


def _has_ended_between(warms: Sequence[Outcome], key: str) -> bool:
    """Whether each answer under `key` had ended, or was about to, when the next was made: then it was renewed."""
    made = sorted((one for one in warms if one.cache_key == key), key=lambda one: one.started_at)
    return all(later.started_at - one.started_at > 0.5 * one.ttl_s for one, later in pairwise(made))


if __name__ == "__main__":
    sys.exit(main())
