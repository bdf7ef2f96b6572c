"""A run's table, JSON and plot. Measures nothing and judges nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.bench.measure import Measured, Spread
from tests.bench.verdicts import Verdict
from tests.bench.works import ELSEWHERE

WIDTH = 150
COLUMNS = ("what", "gateway", "beside it", "yardstick", "LiteLLM", "value", "target", "")


def table_of(verdicts: Sequence[Verdict], described: Mapping[str, str]) -> Table:
    """Return the table of performance.md for this machine."""
    facts = ", ".join(described[name] for name in ("machine", "date")) + f", commit {described['commit']}"
    table = Table(title=f"{facts}, load average {described['load']}\nmedian (least–most) of the rounds", width=WIDTH)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "what" else "right", overflow="fold")
    for row in verdicts:
        unit = "ms CPU" if row.unit == "× CPU" else row.unit
        table.add_row(
            row.what,
            *(_told(spread, unit) for spread in (row.ours, row.beside, row.theirs, row.peer)),
            _told(row.value, row.unit),
            "" if row.limit is None else f"≤ {row.limit:.3g} {row.unit}",
            row.result,
        )
    return table


def _told(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "-"
    form = ".0f" if unit == "MiB" else ".2f" if unit in ("ms", "× CPU") else ".3f"
    exact = spread.least == spread.most
    return f"{spread.median:{form}} {unit}" if exact else f"{spread:{form}} {unit}"


def shares_of(measured: Sequence[Measured]) -> Table:
    """Return who was how busy: the self-check that the load is not what is measured."""
    table = Table(title="shares of their cores, worst round; requests a second, median", width=WIDTH)
    for column in ("work", "server", "rps", "server", "generator", "provider", "reads an answer"):
        table.add_column(column, justify="left" if column == "work" else "right")
    for work, server in dict.fromkeys((one.work, one.server) for one in measured):
        rounds = [one for one in measured if (one.work, one.server) == (work, server)]
        table.add_row(
            work,
            server,
            f"{sorted(one.rps for one in rounds)[len(rounds) // 2]:,.0f}",
            f"{max(one.server_share for one in rounds):.0%}",
            f"{max(one.load_share for one in rounds):.0%}",
            f"{max(one.provider_share for one in rounds):.0%}",
            f"{max(one.told.reads for one in rounds):.1f}",
        )
    return table


def write_json(
    path: Path, described: Mapping[str, str], verdicts: Sequence[Verdict], measured: Sequence[Measured]
) -> None:
    """Write everything that was measured."""
    document = {
        "about": dict(described),
        "rows": [{**dataclasses.asdict(row), "result": row.result} for row in verdicts],
        "measured": [{**_plain(one), "rps": one.rps} for one in measured],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _plain(one: Measured) -> dict[str, object]:
    fields = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    return {**fields, "told": msgspec.to_builtins(one.told)}


def plot(path: Path, described: Mapping[str, str], verdicts: Sequence[Verdict]) -> None:
    """Draw how far every ratio is from its target, and CPU per request beside the bare proxy's and LiteLLM's."""
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [row for row in verdicts if row.unit == "× CPU" and row.value is not None]
    _draw_ratios(left, [row for row in rows if row.limit is not None])
    _draw_cpu(right, rows)
    figure.suptitle(f"{described['machine']}, {described['date']}, commit {described['commit']}")
    figure.savefig(path, dpi=110)


def _draw_ratios(axes: Axes, rows: Sequence[Verdict]) -> None:
    for place, row in enumerate(reversed(rows)):
        assert row.value is not None
        assert row.limit is not None
        colour = "tab:green" if row.result == "met" else "tab:red"
        low, high = row.value.median - row.value.least, row.value.most - row.value.median
        axes.barh(place, row.value.median, color=colour, xerr=[[low], [high]], capsize=3)
        axes.plot([row.limit, row.limit], [place - 0.45, place + 0.45], color="black", linewidth=2)
    axes.set_yticks(range(len(rows)), [row.what for row in reversed(rows)])
    axes.set_xlabel("× CPU per request; black: the target")
    axes.set_title("ratios to the yardstick")


def _draw_cpu(axes: Axes, rows: Sequence[Verdict]) -> None:
    sides = (("gateway", "ours", "tab:blue"), ("bare aiohttp", "theirs", "tab:gray"), ("LiteLLM", "peer", "tab:orange"))
    for shift, (label, name, colour) in enumerate(sides):
        spreads = [getattr(row, name) for row in reversed(rows)]
        places = [place + 0.27 - 0.27 * shift for place in range(len(rows))]
        axes.barh(
            places, [spread.median if spread else 0 for spread in spreads], height=0.26, label=label, color=colour
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.what for row in reversed(rows)])
    axes.set_xlabel("milliseconds of CPU per request")
    axes.legend()


def show(
    console: Console, described: Mapping[str, str], verdicts: Sequence[Verdict], measured: Sequence[Measured]
) -> None:
    """Print both tables."""
    console.print(table_of(verdicts, described))
    console.print("beside it: Redis, warmer and embedder, on the load's core. LiteLLM: with its own memory cache.")
    console.print(ELSEWHERE)
    console.print(shares_of(measured))
