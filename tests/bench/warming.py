"""`make bench-warming`: what warming is good for, on the Bing trace and on the composed bot week, arm by arm.

Paired and prequential (warming_arms.py); the product's own Warmer on simulated time. Prints tables; writes warming.json
and warming.png into --out. Not a test: figures in tests/bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console

from gateway.clock import SystemClock
from tests.bench.warming_arms import ARMS, Arm, Run, play
from tests.bench.warming_data import Request, bing, bot_week, folder
from tests.bench.warming_tables import Row, plot, table
from tests.bench.warming_world import Budget

SEEDS = (11, 12, 13, 14, 15)
"""Constants were settled while looking at seeds 101 to 105."""
HALF = Budget(price=0.5)
DEFAULT_SHARE = Budget(price=0.5, share=0.05)
FULL = Budget(price=1.0)
FULL_WAITING = Budget(price=1.0, wait_value_usd=0.0005)

console = Console(width=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream: of Bing `per_day` requests with `ttl_s`, or, with none, the bot week."""

    name: str
    per_day: int = 0
    ttl_s: float = 0.0


STREAMS = (
    *(
        Stream(name=f"Bing, {per_day} a day, TTL {hours} h", per_day=per_day, ttl_s=hours * 3600.0)
        for per_day in (100, 500)
        for hours in (1, 24)
    ),
    Stream(name="bot week (composed)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One arm of one stream with one seed and one budget."""

    stream: Stream
    arm: Arm
    label: str
    budget: Budget
    seed: int


def jobs_of(stream: Stream, seeds: Sequence[int]) -> list[Job]:
    """Return every job of a stream; the Bing trace has nobody who announces anything."""
    arms = [arm for arm in ARMS if stream.per_day == 0 or arm.announcing is None]
    everything = next(arm for arm in reversed(arms) if arm.predictors)
    labelled = [
        *((arm, arm.name, HALF) for arm in arms),
        (everything, f"{everything.name}, 5 % of spend", DEFAULT_SHARE),
        (next(arm for arm in ARMS if arm.is_oracle), "oracle, 5 % of spend", DEFAULT_SHARE),
        (everything, f"{everything.name}, full price", FULL),
        (everything, f"{everything.name}, full price, a second worth 0.0005 USD", FULL_WAITING),
    ]
    return [
        Job(stream=stream, arm=arm, label=label, budget=budget, seed=seed)
        for arm, label, budget in labelled
        for seed in seeds
    ]


def requests_of(stream: Stream, seed: int) -> Sequence[Request] | None:
    return bing(per_day=stream.per_day, ttl_s=stream.ttl_s, seed=seed) if stream.per_day else bot_week()


def measured(job: Job) -> Row:
    """Play a job, and return its figures without the samples."""
    requests = requests_of(job.stream, job.seed)
    assert requests is not None
    run: Run = asyncio.run(play(requests, job.arm, job.budget, seed=job.seed))
    counts, n = run.counts, run.counts.requests
    waits_s, hits_s, misses_s = (
        sorted(ones) for ones in (counts.hit_waits_s + counts.miss_waits_s, counts.hit_waits_s, counts.miss_waits_s)
    )
    total = run.figures.total if run.figures else None
    return Row(
        stream=job.stream.name,
        arm=job.label,
        seed=job.seed,
        hit_rate=1 - counts.by_origin.get("miss", 0) / n,
        misses=counts.by_origin.get("miss", 0),
        by_origin={origin: count / n for origin, count in counts.by_origin.items()},
        usd_per_1000=(counts.live_nanousd + counts.warm_nanousd) / n / 1e6,
        warm_usd=counts.warm_nanousd / 1e9,
        warms=counts.warms,
        precision=total.precision.value if total and total.resolved else None,
        wasted_usd=total.wasted_usd if total else 0.0,
        hit_p50_s=hits_s[len(hits_s) // 2] if hits_s else None,
        hit_p95_s=hits_s[int(0.95 * len(hits_s))] if hits_s else None,
        miss_p50_s=misses_s[len(misses_s) // 2],
        miss_p95_s=misses_s[int(0.95 * len(misses_s))],
        mean_wait_s=fmean(waits_s),
        considered=run.results,
        figures=json.loads(msgspec.json.encode(run.figures)) if run.figures else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-warming")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--quick", action="store_true", help="two seeds")
    parser.add_argument("--seeds", default="", help="others, with commas between")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="streams whose name contains this")
    options = parser.parse_args()
    seeds = tuple(int(seed) for seed in options.seeds.split(",") if seed) or (SEEDS[:2] if options.quick else SEEDS)
    clock = SystemClock()
    began_s = clock.monotonic()
    jobs: list[Job] = []
    for stream in STREAMS:
        if options.only not in stream.name:
            continue
        if requests_of(stream, seeds[0]) is None:
            console.print(f"{stream.name}: skipped, its data is not in {folder()} (FOREWORD_DATA)")
            continue
        jobs.extend(jobs_of(stream, seeds))
    if not jobs:
        return
    with ProcessPoolExecutor(max_workers=options.processes) as pool:
        rows = list(pool.map(measured, jobs))
    for _, ones in groupby(rows, key=lambda row: row.stream):
        console.print(table(list(ones), seeds=seeds))
    console.print(f"{clock.monotonic() - began_s:.0f} s")
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seeds": seeds, "rows": [asdict(row) for row in rows]}, indent=1)
    (options.out / "warming.json").write_text(text, encoding="utf-8")
    plot(rows, options.out / "warming.png")


if __name__ == "__main__":
    main()
