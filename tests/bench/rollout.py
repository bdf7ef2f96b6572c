"""`make bench-rollout`: false rollbacks of a version that is no worse, and how many are harmed by one that is.

Drives the product's figures, guards and state with simulated interactions, looked at every hundred; nothing is timed.
"""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table

from gateway.rollout.figures import Figures
from gateway.rollout.guards import read_guard
from gateway.rollout.state import SWITCH_S, RolloutState, alpha_of, judged, seen
from policies.rules import GuardRules, RolloutRules

RULES = RolloutRules(
    steps=(5.0, 25.0, 50.0, 100.0),
    salt="bench",
    hold_s=1800.0,
    guards=(
        GuardRules(metric="error_rate", worse_by_abs=0.005, min_n=400),
        GuardRules(metric="p95_total_ms", worse_by_rel=0.15, min_n=400),
        GuardRules(metric="cost_usd", worse_by_rel=0.15, min_n=400),
    ),
)
PER_SECOND = 5.0
LOOK_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the new version is like; the old one has 1 % errors, and lognormal times (sigma 0.6) and costs (0.8)."""

    name: str
    errors: float = 0.01
    slower: float = 1.0
    dearer: float = 1.0


KINDS = (
    Kind(name="the same (A/A)"),
    Kind(name="10 % errors", errors=0.10),
    Kind(name="3 % errors", errors=0.03),
    Kind(name="+30 % latency", slower=1.3),
    Kind(name="+60 % latency", slower=1.6),
    Kind(name="+50 % cost", dearer=1.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, and after how many interactions in all and under the new version."""

    status: str
    interactions: int
    exposed: int


def interaction(figures: Figures, kind: Kind, rng: random.Random) -> None:
    """Count one simulated interaction."""
    figures.counts["n"] += 1
    if rng.random() < kind.errors:
        figures.counts["e"] += 1
        return
    figures.put("t", 3000.0 * kind.slower * rng.lognormvariate(0, 0.6))
    figures.put("c", 400_000.0 * kind.dearer * rng.lognormvariate(0, 0.8))


def run(seed: int, *, kind: Kind, most: int) -> Ended:
    """Roll one version out until it is done, rolled back, or `most` interactions have passed."""
    rng, same = random.Random(seed), Kind(name="old")
    state: RolloutState = seen(None, policy="p", version="old", rules=None, is_change=False, now=0.0)
    state = seen(state, policy="p", version="new", rules=RULES, is_change=True, now=-SWITCH_S)
    new, old, step, exposed, alpha = Figures(), Figures(), 0, 0, alpha_of(RULES)
    for n in range(1, most + 1):
        if rng.random() * 100 < state.percent:
            interaction(new, kind, rng)
            exposed += 1
        else:
            interaction(old, same, rng)
        if n % LOOK_EVERY:
            continue
        readings = [read_guard(guard, new, old, alpha=alpha) for guard in RULES.guards]
        state = judged(state, RULES, readings, now=n / PER_SECOND, exposed=exposed)
        if state.status != "running":
            return Ended(status=state.status, interactions=n, exposed=exposed)
        if state.step != step:
            new, old, step = Figures(), Figures(), state.step
    return Ended(status="running", interactions=most, exposed=exposed)


def row(kind: Kind, ended: list[Ended]) -> tuple[str, ...]:
    """Return a line of the table."""
    back = [run for run in ended if run.status == "rolled_back"]
    exposed = sorted(run.exposed for run in back)
    median, high = (str(exposed[int(share * (len(exposed) - 1))]) if exposed else "-" for share in (0.5, 0.95))
    done = sum(run.status == "done" for run in ended)
    return (kind.name, str(len(ended)), f"{len(back) / len(ended):.1%}", str(done), median, high)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000, help="A/A runs; the other kinds get a tenth")
    parser.add_argument("--interactions", type=int, default=40_000, help="most interactions of one run")
    options = parser.parse_args()
    table = Table(title="Rollout guards: 5 % → 25 % → 50 % → 100 %, alpha 5 % in all")
    for heading in ("the new version", "runs", "rolled back", "rolled out", "harmed, median", "harmed, p95"):
        table.add_column(heading, justify="left" if heading == "the new version" else "right")
    with ProcessPoolExecutor() as pool:
        for kind in KINDS:
            runs = options.runs if kind is KINDS[0] else max(20, options.runs // 10)
            ended = list(pool.map(partial(run, kind=kind, most=options.interactions), range(runs), chunksize=5))
            table.add_row(*row(kind, ended))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
