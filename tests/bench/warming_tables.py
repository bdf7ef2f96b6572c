"""The tables and the plot of `make bench-warming`: means over the seeds, with the least and the most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from rich.table import Table

BASE = "+ joining"
"""What every arm is compared with, seed by seed."""

mpl.use("agg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arm with one seed. `by_origin` are shares of the requests, `considered` counts of what the warmer did."""

    stream: str
    arm: str
    seed: int
    hit_rate: float
    misses: int
    by_origin: Mapping[str, float]
    usd_per_1000: float
    warm_usd: float
    warms: int
    precision: float | None
    wasted_usd: float
    hit_p50_s: float | None
    hit_p95_s: float | None
    miss_p50_s: float
    miss_p95_s: float
    mean_wait_s: float
    considered: Mapping[str, int]
    figures: object


def by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return each arm's rows, seeds in order."""
    return {arm: list(ones) for arm, ones in groupby(rows, key=lambda row: row.arm)}


def compared(rows: Sequence[Row], base: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Return points of hit rate, and per cent of cost, above the base, by seed."""
    points = [100 * (row.hit_rate - one.hit_rate) for row, one in zip(rows, base, strict=True)]
    cost = [100 * (row.usd_per_1000 / one.usd_per_1000 - 1) for row, one in zip(rows, base, strict=True)]
    return points, cost


def spread(values: Sequence[float], form: str) -> str:
    """Write a mean with the least and the most."""
    low, high = format(min(values), form), format(max(values), form)
    mean = format(fmean(values), form)
    return mean if low == high else f"{mean} ({low}…{high})"


def origins(rows: Sequence[Row]) -> str:
    """Write the hit rate by who had the answer made, in per cent."""
    names = sorted({name for row in rows for name in row.by_origin if name != "miss"}, key=lambda name: name != "user")
    shares = {name: 100 * fmean(row.by_origin.get(name, 0.0) for row in rows) for name in names}
    return ", ".join(f"{name} {share:.1f}" for name, share in shares.items() if share >= 0.05)


def seconds(rows: Sequence[Row], p50: Callable[[Row], float | None], p95: Callable[[Row], float | None]) -> str:
    """Write the median and the 95th percentile."""
    middles, lates = [p50(row) for row in rows], [p95(row) for row in rows]
    if None in middles or None in lates:
        return "-"
    return f"{fmean(one or 0.0 for one in middles):.2f} / {fmean(one or 0.0 for one in lates):.2f}"


def table(rows: Sequence[Row], *, seeds: Sequence[int]) -> Table:
    """Lay out one stream."""
    found = Table(title=f"{rows[0].stream}, half price unless said, seeds {', '.join(map(str, seeds))}")
    for heading in ("arm", "hits, by origin in %", "points", "USD / 1,000", "cost %", "warms", "precision"):
        found.add_column(heading, justify="left" if heading in ("arm", "hits, by origin in %") else "right")
    for heading in ("removed / warm", "wasted USD", "hit p50 / p95 s", "miss p50 / p95 s", "mean s"):
        found.add_column(heading, justify="right")
    arms = by_arm(rows)
    base = arms[BASE]
    for arm, ones in arms.items():
        points, cost = compared(ones, base)
        removed = [(one.misses - row.misses) / row.warms for row, one in zip(ones, base, strict=True) if row.warms]
        precision = [row.precision for row in ones if row.precision is not None]
        found.add_row(
            arm,
            origins(ones),
            spread(points, "+.1f"),
            f"{fmean(row.usd_per_1000 for row in ones):.3f}",
            spread(cost, "+.1f"),
            f"{fmean(row.warms for row in ones):.0f}",
            spread(precision, ".2f") if precision else "-",
            f"{fmean(removed):.2f}" if removed else "-",
            f"{fmean(row.wasted_usd for row in ones):.3f}",
            seconds(ones, lambda row: row.hit_p50_s, lambda row: row.hit_p95_s),
            seconds(ones, lambda row: row.miss_p50_s, lambda row: row.miss_p95_s),
            f"{fmean(row.mean_wait_s for row in ones):.2f}",
        )
    return found


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw every arm's gain in hits against its change of cost, a panel a stream."""
    from matplotlib import pyplot as plt  # after the backend is chosen

    streams = {stream: by_arm(list(ones)) for stream, ones in groupby(rows, key=lambda row: row.stream)}
    figure, panels = plt.subplots(1, len(streams), figsize=(5 * len(streams), 5), layout="constrained", squeeze=False)
    for axes, (stream, arms) in zip(panels[0], streams.items(), strict=True):
        for arm, ones in arms.items():
            if arm in ("no cache", "fill on miss"):
                continue
            points, cost = compared(ones, arms[BASE])
            axes.plot(points, cost, "o", markersize=4, label=arm)
        axes.axhline(0.0, color="grey", linewidth=0.5)
        axes.set_xlabel("points of hit rate above fill-on-miss with joining")
        axes.set_ylabel("cost, %, warms included")
        axes.set_title(stream)
        axes.legend(fontsize=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)
