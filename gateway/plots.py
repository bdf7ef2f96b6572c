"""Plots as PNG files; the only importer of matplotlib. Must not compute what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from policies.replay_report import Replay, Side
from warmer.figures import Figures
from warmer.intervals import Interval

_WIDTH = 0.38


def plot_replay(replay: Replay, path: Path) -> None:
    """Write three bar charts, then beside now, by route: who is asked, what it costs, how long it takes."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    shares, money, time = figure.subplots(1, 3)
    names = [row.route for row in replay.routes]
    sides = [(row.then, row.now) for row in replay.routes]
    _stacked(shares, sides)
    _pairs(money, [(then.cost_nanousd * 1e-9, now.cost_nanousd * 1e-9) for then, now in sides], "USD")
    _pairs(time, [(then.p95_s or 0.0, now.p95_s or 0.0) for then, now in sides], "p95 of answers, seconds")
    for axes in (shares, money, time):
        axes.set_xticks(range(len(names)), names, rotation=20)
    figure.suptitle(f"{replay.policy} {replay.policy_version}: {replay.requests} requests, then (left) and now (right)")
    figure.savefig(path, format="png", dpi=110)


def _stacked(axes: Axes, sides: list[tuple[Side, Side]]) -> None:
    models = sorted({name for pair in sides for side in pair for name in side.models})
    bottoms = [[0.0, 0.0] for _ in sides]
    for number, model in enumerate(models):
        for which, offset in ((0, -_WIDTH / 2), (1, _WIDTH / 2)):
            heights = [_share(pair[which].models, model) for pair in sides]
            under = [bottom[which] for bottom in bottoms]
            places = [place + offset for place in range(len(sides))]
            label = model if which == 0 else "_"
            axes.bar(places, heights, _WIDTH * 0.95, bottom=under, color=f"C{number % 10}", label=label)
            for bottom, height in zip(bottoms, heights, strict=True):
                bottom[which] += height
    axes.set_title("first model, share of decisions")
    if models:
        axes.legend(fontsize="small")


def _share(models: Mapping[str, int], name: str) -> float:
    total = sum(models.values())
    return models.get(name, 0) / total if total else 0.0


def _pairs(axes: Axes, figures: list[tuple[float, float]], title: str) -> None:
    for which, offset, label in ((0, -_WIDTH / 2, "then"), (1, _WIDTH / 2, "now")):
        places = [place + offset for place in range(len(figures))]
        axes.bar(places, [pair[which] for pair in figures], _WIDTH * 0.95, label=label, color=f"C{which}")
    axes.set_title(title)
    axes.legend(fontsize="small")


def plot_warming(figures: Figures, path: Path) -> None:
    """Write four charts by predictor, each with its 95 % intervals: precision beside the hold-out's, misses removed per
    warm, money, and whether the chances given came true."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    FigureCanvasAgg(figure)
    precision, removed, money, chances = figure.subplots(2, 2).flat
    rows = [*figures.predictors, figures.total]
    _dots(precision, [(row.precision, row.precision_held) for row in rows], ("warmed", "held out"))
    precision.set_title("share that removed a miss (held out: would have)")
    _dots(removed, [(row.misses_removed_per_warm,) for row in rows], ("",))
    removed.set_title("misses removed per warm")
    _dots(money, [(row.net_usd,) for row in rows], ("net",))
    money.bar(range(len(rows)), [-row.wasted_usd for row in rows], 0.5, color="C3", alpha=0.4, label="wasted")
    money.set_title("USD: net, and of what was spent what removed no miss")
    money.legend(fontsize="small")
    for axes in (precision, removed, money):
        axes.set_xticks(range(len(rows)), [row.name for row in rows], rotation=20)
        axes.axhline(0.0, color="black", linewidth=0.6)
    _reliability(chances, figures)
    figure.suptitle(f"warming: {figures.total.warms} warms over {figures.requests} requests, 95 % intervals")
    figure.savefig(path, format="png", dpi=110)


def _dots(axes: Axes, rows: list[tuple[Interval, ...]], labels: tuple[str, ...]) -> None:
    """Draw each figure as a dot with its interval; one that rests on nothing is left out."""
    for which, label in enumerate(labels):
        places = [place + (which - (len(labels) - 1) / 2) * _WIDTH / 2 for place in range(len(rows))]
        known = [(at, row[which]) for at, row in zip(places, rows, strict=True) if row[which].n]
        below = [one.value - (one.value if one.low is None else one.low) for _, one in known]
        above = [(one.value if one.high is None else one.high) - one.value for _, one in known]
        values = [one.value for _, one in known]
        axes.errorbar([at for at, _ in known], values, yerr=[below, above], fmt="o", capsize=4, label=label or "_")
    if len(labels) > 1:
        axes.legend(fontsize="small")


def _reliability(axes: Axes, figures: Figures) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for row in figures.predictors:
        if row.reliability is not None and row.reliability.rows:
            points = row.reliability.rows
            axes.plot([one.given for one in points], [one.came.value for one in points], "o-", label=row.name)
    axes.set_title("chances given (across) and how often they came true")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
