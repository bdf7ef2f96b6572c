"""The two pictures of `make bench-cache`: hits against errors, and the running bound. Draws and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib as mpl

from tests.bench.cache_arms import Arm
from tests.bench.cache_run import Run
from tests.bench.cache_score import Score

mpl.use("Agg")
from matplotlib import pyplot as plt


class Errs(Protocol):
    """How a verifier was taken to err."""

    false_yes: float
    false_no: float
    blind: float


class Measured(Protocol):
    """The part of a row of the table that is drawn."""

    stream: str
    arm: str
    noise: str
    entry_rules: bool
    hits: float
    read: Score | None

    @property
    def verifier(self) -> Errs | None: ...


def plot_frontier(rows: Sequence[Measured], file: Path) -> None:
    """Draw wrong answers per request against hits, on the Quora stream by reading."""
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    for row in rows:
        if row.read is None or not row.hits:
            continue
        errs = row.verifier
        if errs is not None and (errs.false_yes, errs.false_no, errs.blind) != (0.02, 0.03, 1.0):
            continue
        low, high = row.read.wrong_per_request_interval
        wrong = row.read.wrong_per_request
        axes.errorbar(
            100 * row.hits,
            100 * wrong,
            yerr=[[100 * (wrong - low)], [100 * (high - wrong)]],
            fmt="o" if not row.noise else "s" if errs is None else "D",
            color=_colour(row),
        )
        axes.annotate(
            _label(row),
            (100 * row.hits, 100 * wrong),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
            rotation=0 if errs is None else 40,
        )
    axes.axhline(0.5, linestyle=":", color="grey")
    axes.set(xlabel="hits, % of requests", ylabel="wrong answers, % of requests (read pairs, 95 %)", yscale="symlog")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0)
    axes.set_title("Quora: blue fixed cosine, green guards, red the system, purple with a verifier", fontsize=10)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _colour(row: Measured) -> str:
    if row.verifier is not None:
        return "tab:purple" if row.noise == "fresh" else "tab:orange"
    if row.noise:
        return "tab:red" if row.noise == "fresh" else "tab:orange"
    return "tab:green" if row.arm.startswith("guards") else "tab:blue"


def _label(row: Measured) -> str:
    noise = ", lasting noise" if row.noise == "lasting" else ""
    return row.arm + noise + (", entry rules" if row.entry_rules else "")


def plot_verifiers(rows: Sequence[Measured], file: Path) -> None:
    """Draw hits and wrong hits against how often the verifier affirms a wrong pair: the 2 % bound, fresh noise."""
    shown = [
        (row, row.verifier, row.read)
        for row in rows
        if row.verifier is not None and row.verifier.blind == 1 and row.noise == "fresh" and not row.entry_rules
        if row.read is not None and row.arm.startswith("bound 2 %")
    ]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for false_no, colour in ((0.03, "tab:purple"), (0.1, "tab:pink")):
        own = sorted((seen for seen in shown if seen[1].false_no == false_no), key=lambda seen: seen[1].false_yes)
        at = [100 * errs.false_yes for _, errs, _ in own]
        left.plot(
            at, [100 * row.hits for row, _, _ in own], "o-", color=colour, label=f"refuses {false_no:.0%} of right"
        )
        wrong = [100 * read.wrong_per_hit for _, _, read in own]
        low = [100 * (read.wrong_per_hit - read.wrong_per_hit_interval[0]) for _, _, read in own]
        high = [100 * (read.wrong_per_hit_interval[1] - read.wrong_per_hit) for _, _, read in own]
        right.errorbar(at, wrong, yerr=[low, high], fmt="o-", color=colour, capsize=2)
    left.axhline(5, linestyle=":", color="grey")
    right.axhline(2, linestyle=":", color="grey")
    left.set(xlabel="wrong pairs affirmed, %", ylabel="hits, % of requests", ylim=(0, None))
    right.set(xlabel="wrong pairs affirmed, %", ylabel="wrong hits, % of hits (read, 95 %)", ylim=(0, None))
    left.legend(fontsize=8)
    figure.suptitle("Quora, bound 2 % of hits: what rests on the verifier's assumed errors", fontsize=10)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def plot_bounds(traces: Sequence[tuple[Arm, Run]], file: Path) -> None:
    """Draw the upper bound and the true share of wrong hits so far, over each whole-system run that served."""
    shown = [(arm, run) for arm, run in traces if arm.rules is not None and run.hits]
    columns = 2
    figure, grid = plt.subplots(
        max(1, -(-len(shown) // columns)), columns, figsize=(11, 2.6 * max(1, -(-len(shown) // columns))),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, (arm, run) in zip(grid.flat, shown, strict=False):
        at = [requests for requests, _ in run.looks]
        hits = [int((run.entry[:requests] >= 0).sum()) for requests in at]
        wrong = [int(run.is_wrong[:requests].sum()) for requests in at]
        true = [100 * bad / all_hits if all_hits else float("nan") for bad, all_hits in zip(wrong, hits, strict=True)]
        upper = [100 * look.wrong_per_hit_upper if look.mode == "serving" else float("nan") for _, look in run.looks]
        axes.plot(at, upper, color="tab:red", label="upper bound while serving")
        axes.plot(at, true, color="black", label="wrong hits so far, true")
        if arm.rules is not None and arm.rules.wrong_per_hit < 0.2:
            axes.axhline(100 * arm.rules.wrong_per_hit, linestyle=":", color="grey")
        noise = "lasting" if arm.noise.lasting else "fresh"
        axes.set_title(f"{arm.stream}, {arm.name}, {noise} noise", fontsize=8)
        axes.set(ylim=(0, 12), xlabel="requests", ylabel="% of hits")
    grid.flat[0].legend(fontsize=7)
    figure.savefig(file, dpi=110)
    plt.close(figure)
