"""How many hits the semantic tier gives, and how many of them are wrong: `make bench-cache`.

Writes a table, `bench-cache.json` and two plots into a directory. What the system's labels come from, and why scoring
does not leak into them, is in cache_truth.py.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from gateway.cache.semantic.state import ClassState
from tests.bench.cache_arms import (
    BLIND,
    FRESH,
    LASTING,
    SENSITIVITY,
    VERIFIER,
    Arm,
    World,
    prepare,
    rules_of,
    run_all,
    systems,
    thresholds,
    verified,
)
from tests.bench.cache_data import KEPT, QUORA, SECTIONS, quora, sections
from tests.bench.cache_never import crossings, try_traps
from tests.bench.cache_plots import plot_bounds, plot_frontier, plot_verifiers
from tests.bench.cache_run import CALL_NANOUSD, Run
from tests.bench.cache_score import Score, score_hidden, score_read
from tests.bench.cache_truth import FOLDS

QUICK = 12_000
TRAP_QUESTIONS = 400


class Verified(msgspec.Struct, kw_only=True):
    """How the verifier was taken to err, and what it did: shares of requests, money in USD a thousand requests."""

    false_yes: float
    false_no: float
    blind: float
    asked: float
    waited: float
    delayed: float
    cost_usd: float
    labels_usd: float
    saved_usd: float

    @property
    def errs(self) -> str:
        """Say how it errs, for the table."""
        blind = f", × {self.blind:g} where alike" if self.blind > 1 else ""
        return f"{self.false_yes:.1%} / {self.false_no:.0%}{blind}"


class Row(msgspec.Struct, kw_only=True):
    """One arm's figures, as they are written to the JSON file."""

    stream: str
    arm: str
    noise: str
    entry_rules: bool
    hits: float
    read: Score | None
    hidden: Score
    paid_labels_per_request: float
    opened_at: int | None
    most_over_bound: float | None
    verifier: Verified | None = None


def main() -> int:
    """Run everything and return the exit code: 1 where something that must never be a hit was one."""
    options = _options()
    console = Console(width=230)
    if not QUORA.exists():
        console.print(f"{QUORA} is missing: nothing to measure. Set FOREWORD_DATA to where the data is.")
        return 0
    KEPT.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    limit = QUICK if options.quick else None
    arms = _arms(quick=options.quick)
    console.print("reading the streams (the first time embeds them, which takes ten minutes or so)")
    worlds = {stream: prepare(stream, limit=limit) for stream in dict.fromkeys(arm.stream for arm in arms)}
    rows: list[Row] = []
    traces: list[tuple[Arm, Run]] = []
    state: ClassState | None = None
    for arm, runs, last in run_all(arms, folds=1 if options.quick else FOLDS):
        rows.append(_row(arm, runs, worlds[arm.stream]))
        traces.append((arm, runs[0]))
        if last is not None and arm.stream == "quora" and last.cut is not None:
            state = last
        score = rows[-1].read or rows[-1].hidden
        console.print(
            f"{arm.stream}: {arm.name} {rows[-1].noise}: {score.hits:.2%} hits, {score.wrong_per_hit:.2%} wrong"
        )
    console.print(_table(rows))
    plot_frontier(rows, options.out / "bench-cache-hits.png")
    plot_bounds(traces, options.out / "bench-cache-bound.png")
    plot_verifiers(rows, options.out / "bench-cache-verifier.png")
    (options.out / "bench-cache.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))
    return _never(console, state)


def _never(console: Console, state: ClassState | None) -> int:
    bad = 0
    if state is not None:
        tried = try_traps(quora(seed=None, limit=TRAP_QUESTIONS).texts, state, rules_of(0.05, 0.005), seed=1)
        console.print(f"traps: {asdict(tried)}")
        bad += tried.served
    if SECTIONS.exists():
        pairs, shared = crossings(sections())
        console.print(f"debate sections: {shared} of {pairs} pairs of one question on two transcripts share a scope")
        bad += shared
    return int(bad > 0)


def _arms(*, quick: bool) -> list[Arm]:
    if quick:
        return [*thresholds("quora"), *systems("quora", FRESH), *verified("quora", FRESH, VERIFIER, (0.01, 0.02, 0.05))]
    return [
        *thresholds("quora"),
        *systems("quora", LASTING),
        *systems("quora", FRESH),
        *systems("quora", FRESH, admits_all=False)[2:],
        *systems("quora shuffled", LASTING)[1:],
        *systems("quora shuffled", FRESH)[1:],
        *thresholds("banking77"),
        *systems("banking77", FRESH),
        *verified("quora", FRESH, VERIFIER, (0.01, 0.02, 0.05)),
        *verified("quora", LASTING, VERIFIER, (0.02, 0.05)),
        *(arm for one in (*SENSITIVITY, BLIND) if one != VERIFIER for arm in verified("quora", FRESH, one, (0.02,))),
        *(replace(arm, admits_all=False) for arm in verified("quora", FRESH, VERIFIER, (0.02,))),
        *verified("quora shuffled", FRESH, VERIFIER, (0.01, 0.02, 0.05)),
        *verified("quora shuffled", LASTING, VERIFIER, (0.05,)),
        *verified("banking77", FRESH, VERIFIER, (0.01, 0.02, 0.05)),
    ]


def _row(arm: Arm, runs: list[Run], world: World) -> Row:
    hidden = score_hidden(runs)
    read = score_read(world.pairs.stream, world.read, runs) if arm.stream == "quora" else None
    serving = [at for at, look in runs[0].looks if look.mode == "serving"]
    paid = sum(
        run.looks[-1][1].hit_labels + run.looks[-1][1].floor_checks + 2 * run.second_looks for run in runs if run.looks
    )
    bound = None if arm.rules is None else arm.rules.wrong_per_hit
    return Row(
        stream=arm.stream,
        arm=arm.name,
        noise="" if arm.rules is None else "lasting" if arm.noise.lasting else "fresh",
        entry_rules=not arm.admits_all,
        hits=hidden.hits,
        read=read,
        hidden=hidden,
        paid_labels_per_request=paid / sum(len(run.entry) for run in runs),
        opened_at=serving[0] if serving else None,
        most_over_bound=None if bound is None else hidden.wrong_per_hit_interval[0] - bound,
        verifier=_verified(arm, runs),
    )


def _verified(arm: Arm, runs: list[Run]) -> Verified | None:
    if arm.verifier is None:
        return None
    requests = sum(len(run.entry) for run in runs)
    last = [run.looks[-1][1] for run in runs]
    cost, labels = sum(one.verify_cost_nanousd for one in last), sum(one.label_cost_nanousd for one in last)
    return Verified(
        false_yes=arm.verifier.false_yes,
        false_no=arm.verifier.false_no,
        blind=arm.verifier.blind,
        asked=sum(run.verified for run in runs) / requests,
        waited=sum(run.waited for run in runs) / requests,
        delayed=sum(run.delayed for run in runs) / requests,
        cost_usd=cost * 1e-6 / requests,
        labels_usd=labels * 1e-6 / requests,
        saved_usd=sum(run.hits for run in runs) * CALL_NANOUSD * 1e-6 / requests,
    )


def _table(rows: list[Row]) -> Table:
    table = Table(title="hits, and wrong ones: by reading (95 % interval), by the truth behind the labels")
    for head in (
        "stream",
        "arm",
        "noise",
        "hits",
        "wrong/hit read",
        "wrong/request read",
        "wrong/hit true",
        "paid",
        "from",
        "verifier errs",
        "asked",
        "waits in vain",
        "saved - verifier - labels, USD/1000",
    ):
        table.add_column(head, justify="left" if head in {"stream", "arm", "noise"} else "right")
    for row in rows:
        table.add_row(
            row.stream,
            row.arm + (" + entry rules" if row.entry_rules else ""),
            row.noise,
            f"{row.hits:.2%}",
            "" if row.read is None else _share(row.read.wrong_per_hit, row.read.wrong_per_hit_interval),
            "" if row.read is None else _share(row.read.wrong_per_request, row.read.wrong_per_request_interval),
            _share(row.hidden.wrong_per_hit, row.hidden.wrong_per_hit_interval),
            f"{row.paid_labels_per_request:.1%}" if row.noise else "",
            "" if row.opened_at is None else f"{row.opened_at:,}",
            *_told(row.verifier),
        )
    return table


def _told(seen: Verified | None) -> tuple[str, ...]:
    if seen is None:
        return ("", "", "", "")
    money = f"{seen.saved_usd:.4f} - {seen.cost_usd:.4f} - {seen.labels_usd:.4f}"
    return (seen.errs, f"{seen.asked:.1%}", f"{seen.delayed:.1%}", money)


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{share:.2%} ({interval[0]:.2%}-{interval[1]:.2%})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} questions and fewer arms: a minute or two")
    parser.add_argument("--out", type=Path, default=KEPT, help="where the table's JSON and the plots go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
