"""Plots as PNG files; the only importer of matplotlib. Must not compute what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from policies.replay_report import Replay, Side

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
