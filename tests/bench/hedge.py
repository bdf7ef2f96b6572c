"""What hedging does to the tail, and what it costs: `make bench-hedge`. Simulated latencies in simulated time, seeded,
so the figures are the same on every machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from policies.rules import HedgeRules
from router.attempts import Limits
from tests.virtual_time import Fleet, VirtualTimeLoop

SEED = 20_261_122
REQUESTS = 6_000
WARM_UP = 1_000
PER_S = 20.0
MEDIAN_S = 0.6
SLOW_S = (5.0, 10.0)

Draw = Callable[[random.Random], float]


def lognormal(sigma: float) -> Draw:
    return lambda rng: MEDIAN_S * rng.lognormvariate(0.0, sigma)


def with_slow_tail(draw: Draw) -> Draw:
    """Two in a hundred take 5 to 10 s."""
    return lambda rng: rng.uniform(*SLOW_S) if rng.random() < 0.02 else draw(rng)


PROVIDERS: dict[str, Draw] = {
    "lognormal σ 0.4": lognormal(0.4),
    "lognormal σ 0.7": lognormal(0.7),
    "lognormal σ 1.0": lognormal(1.0),
    "σ 0.4, 2 % slow": with_slow_tail(lognormal(0.4)),
}
HEDGES: dict[str, HedgeRules | None] = {
    "off": None,
    "p95, 2 %": HedgeRules(),
    "p95, 10 %": HedgeRules(budget_ratio=0.1),
}


def measured(draw: Draw, hedge: HedgeRules | None) -> Fleet:
    """Return a fleet after the requests, without those of the warm-up."""
    rng = random.Random(SEED)
    limits = Limits(first_token_floor_s=60.0)  # so that no limit but the hedge cuts a tail
    fleet = Fleet(lambda: draw(rng), hedge=hedge, limits=limits, seed=SEED)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(fleet.ask_many(REQUESTS, "two", per_s=PER_S, rng=random.Random(SEED + 1)))
    fleet.took_s = fleet.took_s[WARM_UP:]
    return fleet


def row(fleet: Fleet, plain: Fleet) -> tuple[str, ...]:
    took_s, plain_s = sorted(fleet.took_s), sorted(plain.took_s)
    hedges = [record for journal in fleet.journals for record in journal if record.reason == "hedge"]
    p99_s, plain_p99_s = took_s[int(0.99 * len(took_s))], plain_s[int(0.99 * len(plain_s))]
    return (
        *(f"{took_s[int(share * len(took_s))] * 1000:.0f}" for share in (0.5, 0.95, 0.99)),
        f"{100 * (p99_s / plain_p99_s - 1):+.0f} %",
        f"{100 * len(hedges) / len(fleet.journals):.2f} %",
        f"{100 * sum(record.result == 'ok' for record in hedges) / len(hedges):.0f} %" if hedges else "-",
        f"{100 * (fleet.cost_nanousd / plain.cost_nanousd - 1):+.2f} %",
    )


def main() -> None:
    table = Table(title=f"Time to first token in ms, {REQUESTS} requests, {PER_S:g}/s, two deployments, seed {SEED}")
    columns = ("provider", "hedge", "p50", "p95", "p99", "p99 change", "hedged", "won", "extra cost")
    for name in columns:
        table.add_column(name, justify="left" if name in columns[:2] else "right")
    for provider, draw in PROVIDERS.items():
        fleets = {name: measured(draw, hedge) for name, hedge in HEDGES.items()}
        for name, fleet in fleets.items():
            table.add_row(provider, name, *row(fleet, fleets["off"]), end_section=name == list(HEDGES)[-1])
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
