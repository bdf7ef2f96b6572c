"""`make bench-routing`: what routing by predicted quality saves, on RouteLLM's data, 5-fold, against simpler rules.

Prints tables; writes routing.json and routing.png into --out. Looks for the data at FOREWORD_DATA, and says what it
skips. Not a test: figures in tests/bench/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from gateway.clock import SystemClock
from tests.bench import routing_decisions as decisions
from tests.bench.routing_curve import QUALITIES, Curve, curve_of, path_of
from tests.bench.routing_data import NAMES, Floats, Prompts, Vectors, data_folder, load, vectors_of
from tests.bench.routing_scores import MIN_SIMILARITY, check, folds, near_gaps, task_means, whole_means

SEED = 20261122
FLOORS = (0.98, 0.95, 0.90)

mpl.use("agg")
console = Console(width=215)


def scores_of(prompts: Prompts, *, quick: bool) -> dict[str, Floats]:
    """Return every router's predicted gap of each prompt."""
    fold = folds(len(prompts.texts), seed=SEED)
    whole = whole_means(fold, prompts.gap)
    by_task = task_means(prompts, fold, prompts.gap)
    hashed, minilm = vectors_of(prompts, "hashed"), vectors_of(prompts, "minilm")
    every = -1.0

    def near(vectors: Vectors, prior: Floats, reduction: str, least: float) -> Floats:
        return near_gaps(prompts, fold, vectors, prior, reduction=reduction, min_similarity=least)[0]

    found = {
        "random mixing": np.zeros(len(whole)),
        "mean per task (true labels)": by_task,
        "kNN, hashed n-grams, whole": near(hashed, whole, "none", every),
        "kNN, MiniLM, 64 directions, as shipped": near(minilm, whole, "fitted", MIN_SIMILARITY),
        "mean per task, then kNN as shipped": near(minilm, by_task, "fitted", MIN_SIMILARITY),
    }
    if not quick:
        found |= {
            "kNN, MiniLM, 64 directions, every neighbour": near(minilm, whole, "fitted", every),
            "kNN, MiniLM, 64 at random, every neighbour": near(minilm, whole, "random", every),
            "kNN, MiniLM, all 384, every neighbour": near(minilm, whole, "none", every),
            "kNN, MiniLM, all 384, similarity 0.55": near(minilm, whole, "none", MIN_SIMILARITY),
        }
    return found


def curves_table(prompts: Prompts, curves: list[Curve]) -> Table:
    """Lay out the figures of one data set."""
    table = Table(title=f"{prompts.name}: {len(prompts.texts)} prompts, 5-fold, 95 % bootstrap intervals over prompts")
    for heading in (
        "router",
        "APGR",
        "CPT(50 %)",
        "CPT(80 %)",
        *(f"saved at {q:.0%}" for q in QUALITIES),
        "gain at 95 %",
    ):
        table.add_column(heading.replace("%", " %") if "saved" in heading else heading, no_wrap=True)
    for row in curves:
        saved = [figure.percent() if prompts.has_costs else "no costs" for figure in row.saved]
        gain = row.gain[1]
        shown = f"{gain.value * 100:+.1f} [{gain.low * 100:+.1f}, {gain.high * 100:+.1f}]" if prompts.has_costs else "-"
        table.add_row(row.router, str(row.apgr), row.cpt50.percent(), row.cpt80.percent(), *saved, shown)
    return table


def constant_rows(prompts: Prompts) -> str:
    """Say what the two constant rules come to."""
    kept = prompts.weak.mean() / prompts.strong.mean()
    saved = f"{1 - prompts.weak_usd.sum() / prompts.strong_usd.sum():.1%}" if prompts.has_costs else "unknown"
    return (
        f"always strong: quality {prompts.strong.mean():.4f}, saved 0; "
        f"always cheap: quality {prompts.weak.mean():.4f} ({kept:.1%} of strong), saved {saved}"
    )


def plot(prompts: Prompts, scores: dict[str, Floats], path: Path) -> None:
    """Draw quality against cost, one line a router."""
    from matplotlib import pyplot as plt  # after the backend is chosen

    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    for router, score in scores.items():
        if router == "random mixing":
            kept, cost = prompts.weak.sum() / prompts.strong.sum(), prompts.weak_usd.sum() / prompts.strong_usd.sum()
            axes.plot([cost, 1], [kept, 1], "k--", label=router, linewidth=1)
            continue
        cost, kept = path_of(prompts, score)
        axes.plot(cost, kept, label=router, linewidth=1)
    axes.set_xlabel("cost / always strong")
    axes.set_ylabel("quality / always strong")
    axes.set_title(f"{prompts.name}: quality against cost")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def decide(prompts: Prompts, *, rounds: int) -> dict[str, object]:
    """Run the gateway's own decision over one data set and print what it came to."""
    fold, vectors = folds(len(prompts.texts), seed=SEED), vectors_of(prompts, "minilm")
    evidence = decisions.evidence_of(prompts, vectors, fold, seed=SEED, by_task=False)
    by_task = decisions.evidence_of(prompts, vectors, fold, seed=SEED, by_task=True)
    table = Table(title=f"{prompts.name}: what `choose` does, confidence 0.9, 20,000 labels known")
    for heading in ("rule", "floor", "strong calls", "cost saved", "quality", "of strong's"):
        table.add_column(heading)
    arms = Table(title=f"{prompts.name}: would the control arm have let the learned arm stay on, every answer judged?")
    for heading in ("floor", "control", "gain over shuffle", "± (95 %)", "stays on", "requests needed to show it"):
        arms.add_column(heading)
    rows: list[decisions.Chosen] = []
    verdicts: list[decisions.Verdict] = []
    for floor in FLOORS:
        for rule, known, draw in (
            ("fixed: the mean, tasks unknown", evidence, decisions.FIXED_DRAW),
            ("fixed: the mean per true task", by_task, decisions.FIXED_DRAW),
            ("learned: kNN, tasks unknown", evidence, decisions.LEARNED_DRAW),
            ("learned: kNN within the true task", by_task, decisions.LEARNED_DRAW),
        ):
            rows.append(decisions.chosen(rule, floor, prompts, decisions.decide_all(known, floor, draw)))
        learned = decisions.decide_all(evidence, floor, decisions.LEARNED_DRAW)
        verdicts += [
            decisions.verdict_of(prompts, learned, floor=floor, control=control, rounds=rounds, seed=SEED)
            for control in (0.03, 0.1, 0.5)
        ]
    for row in rows:
        shown = (f"{row.strong_calls:.1%}", f"{row.saved:.1%}", f"{row.quality:.4f}", f"{row.kept:.1%}")
        table.add_row(row.rule, f"{row.floor:g}", *shown)
    for v in verdicts:
        shown = (f"{v.gain:+.4f}", f"{v.half_width:.4f}", f"{v.stays_on:.0%} of runs", f"{v.needed:,.0f}")
        arms.add_row(f"{v.floor:g}", f"{v.control:g}", *shown)
    console.print(table, arms)
    return {"decisions": list(map(dataclasses.asdict, rows)), "control": list(map(dataclasses.asdict, verdicts))}


def main() -> None:
    """Run all of it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="GSM8K and MT-bench only, fewer bootstrap rounds")
    arguments.add_argument("--out", type=Path, default=Path("build"), help="folder of routing.json and routing.png")
    given = arguments.parse_args()
    clock = SystemClock()
    began = clock.monotonic()
    check()
    found = {
        name: prompts for name in NAMES if (prompts := load(name)) is not None and not (given.quick and name == "mmlu")
    }
    missing = [name for name in NAMES if name not in found and not (given.quick and name == "mmlu")]
    if missing:
        console.print(f"skipped, not found in {data_folder()} (set FOREWORD_DATA): {', '.join(missing)}")
    report: dict[str, object] = {"seed": SEED, "skipped": missing}
    given.out.mkdir(parents=True, exist_ok=True)
    for name, prompts in found.items():
        without = int(np.isnan(vectors_of(prompts, "minilm")[:, 0]).sum())
        scores = scores_of(prompts, quick=given.quick)
        rounds = 100 if given.quick else 400
        curves = [curve_of(router, prompts, score, rounds=rounds, seed=SEED) for router, score in scores.items()]
        console.print(curves_table(prompts, curves))
        console.print(constant_rows(prompts) + f"; {without} prompts beyond MiniLM's window: the mean alone\n")
        report[name] = {"curves": [dataclasses.asdict(curve) for curve in curves]}
        if prompts.has_costs:
            plot(prompts, scores, given.out / f"routing-{name}.png")
    largest = found.get("mmlu") or found.get("gsm8k")
    if largest is not None:
        report["decide"] = decide(largest, rounds=20 if given.quick else 100)
        times = decisions.timings(largest, vectors_of(largest, "minilm"), rounds=200)
        report["decision_us"] = times
        told = ", ".join(f"{name} {us / 1000:.3f} ms" for name, us in times.items())
        console.print(f"CPU of one decision (evidence and choose): {told}")
    (given.out / "routing.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    console.print(f"wrote routing.json and the plots to {given.out}; {clock.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
