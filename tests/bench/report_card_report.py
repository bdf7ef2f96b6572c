"""The table of `make report-card` as Markdown, on the screen and as a chart. Measures nothing and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.bench.report_card_about import about
from tests.bench.report_card_claims import Claim
from tests.bench.report_card_measure import Setup
from tests.bench.report_card_score import Card, Interval

COLUMNS = (
    "row",
    "P50 s",
    "P95 s",
    "P99 s",
    "P95 change",
    "USD / 1,000",
    "cost change",
    "hits",
    "exact",
    "segment",
    "joined",
    "semantic",
    "no call",
    "rate /s",
    "wrong hits",
)
NOT_BUILT = "not built in this checkout"


def cells(card: Card) -> tuple[str, ...]:
    """Return a row of the table as text."""
    if not card.is_built:
        return (card.row, NOT_BUILT, *[""] * (len(COLUMNS) - 2))
    return (
        card.row,
        _told(card.latency["p50"], "{:.1f}"),
        _told(card.latency["p95"], "{:.1f}"),
        _told(card.latency["p99"], "{:.0f}"),
        _percent(card.change["p95"]),
        _told(card.cost, "{:.2f}", times=1000),
        _percent(card.change["cost"]),
        f"{card.hit_share:.1%}",
        *(f"{card.tiers[tier]:.1%}" for tier in ("exact", "segment", "joined", "semantic")),
        f"{card.untouched:.1%}",
        f"{'≥ ' if card.rate_step == inf else ''}{card.rate:.2f}" if card.rate else "none",
        wrong(card),
    )


def wrong(card: Card) -> str:
    """Say how many hits were wrong: semantic ones as far as anybody knows, exact ones as compared."""
    exact = f"exact {card.checked.differed} of {card.checked.compared}"
    if not card.semantic:
        return exact
    hits = sum(card.semantic.values())
    known = ", ".join(f"{count} {verdict}" for verdict, count in sorted(card.semantic.items()))
    return f"{exact}; semantic {card.semantic.get('wrong', 0)} of {hits} ({known})"


def _told(interval: Interval, form: str, *, times: float = 1.0) -> str:
    value, low, high = (form.format(times * part) for part in (interval.value, interval.low, interval.high))
    return f"{value} ({low}–{high})"


def _percent(interval: Interval) -> str:
    value, low, high = (f"{100 * part:+.0f}" for part in (interval.value, interval.low, interval.high))
    return f"{value} % ({low}…{high})"


def markdown(setup: Setup, described: Mapping[str, str], cards: Sequence[Card], claims: Sequence[Claim]) -> str:
    """Return both tables and what they are of."""
    lines = ["# Report card", "", about(setup, described, cards), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 1)}"]
    lines += [f"| {' | '.join(cells(card))} |" for card in cards]
    lines += ["", "| claim | wanted | measured | |", "|---|---|---|---|"]
    lines += [f"| {claim.what} | {claim.wanted} | {claim.measured} | {claim.verdict} |" for claim in claims]
    lines += ["", *notes(cards)]
    return "\n".join(lines) + "\n"


def notes(cards: Sequence[Card]) -> list[str]:
    """Return what the table has no column for, a line a row."""
    found = []
    for card in cards:
        if not card.is_built:
            continue
        parts = [f"calls {_counted(card.models)}"]
        parts += [f"beside the users ({origin}) USD {usd:.4f}" for origin, usd in sorted(card.beside.items())]
        parts += [f"semantic look-ups without a hit {_counted(card.refusals)}"] if card.refusals else []
        parts += [f"labels {card.labels:.0f}"] if card.labels else []
        parts += [_warms(card)] if card.warms.get("warms_total") else []
        parts += [f"hedges {_counted(card.hedges)}"] if card.hedges else []
        parts += [
            f"no rate tried failed at {card.rate:.2f}/s"
            if card.rate_step == inf
            else f"a rate {card.rate_step:.0%} higher was not sustained"
            if card.rate
            else "no rate was sustained"
        ]
        parts += [f"at most {card.most_at_once} calls at once in the replay"]
        parts += [f"FAILED {card.failed}"] if card.failed else []
        parts += [f"the gateway's metric counted {card.counted:.0f} interactions"]
        found.append(f"- {card.row}: {'; '.join(parts)}")
    return found


def _warms(card: Card) -> str:
    warms, paid = card.warms, card.beside.get("warmer", 0.0)
    share = paid / (card.cost.value * card.interactions)
    return ", ".join(
        (
            f"{warms['warms_total']:.0f} warms",
            f"{card.flex_calls} calls at the flex tier",
            f"{share:.0%} of all that was spent (a saved wait is given no value)",
            f"{warms['useful_warms']:.0f} of {warms['resolved_warms']:.0f} resolved ones useful",
            "others not in vain before ten minutes, undivided, after their time",
            f"wasted USD {warms['wasted_usd']:.4f}",
            f"net USD {warms['net_usd']:+.4f} by the warmer's account",
            f"{card.flex_full:.1%} of the places held by warms while calls waited in line for a rate",
        )
    )


def _counted(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:.0f}" for name, count in sorted(counts.items()))


def show(console: Console, setup: Setup, described: Mapping[str, str], cards: Sequence[Card],
         claims: Sequence[Claim]) -> None:  # fmt: skip
    """Print both tables."""
    console.print(about(setup, described, cards), highlight=False, markup=False)
    table = Table(title="report card", show_lines=True)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "row" else "right", overflow="fold")
    for card in cards:
        table.add_row(*cells(card))
    console.print(table)
    judged = Table(title="claims")
    for column in ("claim", "wanted", "measured", ""):
        judged.add_column(column, overflow="fold")
    for claim in claims:
        judged.add_row(claim.what, claim.wanted, claim.measured, claim.verdict)
    console.print(judged)
    for line in notes(cards):
        console.print(line, highlight=False, markup=False)


def plot(path: Path, setup: Setup, described: Mapping[str, str], cards: Sequence[Card]) -> None:
    """Draw latency, cost, hits and rate, a bar a row."""
    built = [card for card in cards if card.is_built]
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    latency, cost, hits, rate = figure.subplots(2, 2).flat
    _draw_latency(latency, built)
    _draw_interval(cost, built, [card.cost for card in built], "USD per 1,000 interactions", times=1000)
    left = [0.0] * len(built)
    for tier in ("exact", "segment", "joined", "semantic"):
        shares = [100 * card.tiers[tier] for card in built]
        hits.barh(range(len(built)), shares, left=left, label=tier)
        left = [at + share for at, share in zip(left, shares, strict=True)]
    _name(hits, built, "% of asks without a provider call of their own")
    hits.set_xlim(0, 1.35 * max(left, default=1.0) or 1.0)
    hits.legend(loc="upper right")
    rate.barh(range(len(built)), [card.rate for card in built], color="tab:green")
    _name(rate, built, f"interactions / s at P95 ≤ {setup.slo_s:g} s, {setup.places} provider calls at once")
    figure.suptitle(
        f"a composed bot week, simulated providers, real gateway; waits ÷ {setup.latencies:g}, arrivals ÷ "
        f"{setup.arrivals:g}, seed {setup.seed}\n{described['machine']}, {described['date']}, "
        f"commit {described['commit']}, load average {described['load']}"
    )
    figure.savefig(path, dpi=110)


def _draw_latency(axes: Axes, built: Sequence[Card]) -> None:
    for shift, (name, colour) in enumerate((("p50", "tab:blue"), ("p95", "tab:orange"), ("p99", "tab:red"))):
        found = [card.latency[name] for card in built]
        places = [place + 0.27 * (shift - 1) for place in range(len(built))]
        low = [one.value - one.low for one in found]
        high = [one.high - one.value for one in found]
        values = [one.value for one in found]
        axes.barh(places, values, height=0.26, xerr=[low, high], capsize=2, color=colour, label=name.upper())
    _name(axes, built, "seconds per interaction")
    axes.legend(loc="lower right")


def _draw_interval(axes: Axes, built: Sequence[Card], found: Sequence[Interval], label: str, *, times: float) -> None:
    low = [times * (one.value - one.low) for one in found]
    high = [times * (one.high - one.value) for one in found]
    axes.barh(range(len(built)), [times * one.value for one in found], xerr=[low, high], capsize=3, color="tab:purple")
    _name(axes, built, label)


def _name(axes: Axes, built: Sequence[Card], label: str) -> None:
    axes.set_yticks(range(len(built)), [card.row for card in built])
    axes.invert_yaxis()
    axes.set_xlabel(label)
