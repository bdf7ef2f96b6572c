"""`foreword report --warming`: what warming was good for, measured against what would have been without it.

Shows the figures that the warmer publishes, and the ledger's money; computes neither, and says plainly where nothing
can be said.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.commands.history import NANO, since, usd, with_history
from gateway.commands.policy import PIPED_WIDTH
from gateway.history.reading import read_history
from gateway.history.warming import Warmed, WarmingAccount
from gateway.ports import StoreUnavailable
from gateway.published import FIGURES, load
from gateway.retained.kept import NOTES
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from warmer.figures import Figures, Holdout, PredictorFigures
from warmer.intervals import Interval

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2
LEAST_KEYS = 20
"""Of fewer keys the samples behind an interval are often all alike, and it is too narrow."""
_USEFUL = (
    *("predictor", "warms", "known", "useful", "precision", "held out", "wanted of those", "difference"),
    *("misses removed", "per warm", "calibration"),
)
_MONEY = (
    *("predictor", "calls", "spent USD", "wasted USD", "saved USD", "net USD", "wait saved s", "lead s"),
    *("hits", "hits saved USD"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is: the warmer's figures, None where none are published, and the ledger's sums."""

    figures: Figures | None
    account: WarmingAccount


def warming_report(settings: Settings, *, span: str, plot: Path | None, as_json: bool) -> int:
    """Print both, and draw the figures where asked."""
    since_s = since(span)
    if since_s is None:
        return EXIT_CONFIG

    async def read(store: RedisStore | None) -> Found:
        account = WarmingAccount()
        async for outcome in read_history(store, settings.data_dir, since_s=since_s):
            account.add(outcome)
        return Found(figures=await _figures(store), account=account)

    found = with_history(settings, read)
    if found is None:
        return EXIT_FAILURE
    if plot is not None and not _drawn(found, plot):
        return EXIT_FAILURE
    if as_json:
        sys.stdout.write(orjson.dumps({"since": since_s, **_json(found)}).decode() + "\n")
        return EXIT_OK
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    if found.figures is not None:
        console.print(_useful(found.figures))
    console.print(_money(found, span))
    for line in said(found):
        console.print(Text(line))
    return EXIT_OK


async def _figures(store: RedisStore | None) -> Figures | None:
    if store is None:
        return None
    try:
        return load(await store.hash_get(NOTES, FIGURES))
    except StoreUnavailable:
        return None


def _drawn(found: Found, plot: Path) -> bool:
    if found.figures is None:
        sys.stderr.write(f"--plot: {plot}: nothing to draw: the warmer has published no figures\n")
        return False
    from gateway.plots import plot_warming  # noqa: PLC0415 - only who plots waits for matplotlib

    plot_warming(found.figures, plot)
    return True


def said(found: Found) -> Iterator[str]:
    """Yield what the tables must not be read without."""
    figures, total = found.figures, found.account.total
    if total.unpriced:
        yield f"{total.unpriced} calls of models without a known price are in no sum"
    if total.simulated:
        yield f"{total.simulated} of {total.calls} calls were simulated: their money is what a provider would ask"
    if figures is None:
        yield "the warmer has published no figures yet: it does within seconds of leading, where a Redis is shared"
        return
    if not figures.total.warms:
        yield "nothing has been warmed yet: there is nothing to measure"
        return
    if not figures.total.resolved:
        yield "of no warm is it known yet whether it was useful"
        yield from _of_holdout(figures.holdout)
        return
    yield _judged("net USD", figures.total.net_usd, "warming has saved money", "warming has cost money")
    yield _judged("misses removed", figures.total.misses_removed, "warming has removed misses", "it has added misses")
    yield from _of_holdout(figures.holdout)


def _judged(name: str, figure: Interval, above: str, below: str) -> str:
    low, high = figure.bounds
    if figure.low is None or figure.high is None:
        return f"{name}: too few warms for an interval; nothing can be said yet"
    if low <= 0.0 <= high:
        return f"{name}: {_interval(figure, 4)} includes zero: it cannot be told from nothing"
    return f"{name}: {_interval(figure, 4)}: {above if low > 0 else below}"


def _of_holdout(holdout: Holdout) -> Iterator[str]:
    keys = f"hold-out: {holdout.keys_held} keys never warmed, {holdout.keys_open} others"
    if min(holdout.keys_held, holdout.keys_open) < LEAST_KEYS:
        yield f"{keys}: too few to compare"
        return
    held, opened = holdout.misses_per_request_held, holdout.misses_per_request_open
    yield f"{keys}: misses per request {held.value:.3f} and {opened.value:.3f}"
    removed = holdout.misses_removed_per_request
    yield _judged("misses removed per request", removed, "the hold-out bears it out", "the hold-out says the contrary")


def _useful(figures: Figures) -> Table:
    first, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (figures.since_s, figures.at_s))
    title = f"warming, as measured from {first} to {last} UTC over {figures.requests} requests; 95 % intervals"
    table = Table(*_USEFUL, title=title, title_justify="left")
    for row in (*figures.predictors, figures.total):
        is_last = row is (figures.predictors or (None,))[-1]
        table.add_row(*map(Text, _useful_row(row)), end_section=is_last)
    return table


def _useful_row(row: PredictorFigures) -> tuple[str, ...]:
    held = _interval(row.precision_held, 2) if row.held else "-"
    reliability = row.reliability
    calibration = "-" if reliability is None or not reliability.n else f"{reliability.ece:.3f} of {reliability.n}"
    return (
        *(row.name, str(row.warms), str(row.resolved), str(row.useful)),
        _interval(row.precision, 2) if row.resolved else "-",
        *(str(row.held), held),
        _interval(row.precision_difference, 2) if row.held and row.resolved else "-",
        *(_of_warms(row, row.misses_removed, 1), _of_warms(row, row.misses_removed_per_warm, 2), calibration),
    )


def _money(found: Found, span: str) -> Table:
    title = f"its money and waiting: calls, spent and hits from the ledger of the last {span}, the rest as measured"
    table = Table(*_MONEY, title=title, title_justify="left")
    figures, account = found.figures, found.account
    measured = {row.name: row for row in (figures.predictors if figures is not None else ())}
    names = tuple(dict.fromkeys((*measured, *(line.name for line in account.lines()))))
    for name in names:
        is_last = name == names[-1]
        table.add_row(*map(Text, _money_row(name, account.line(name), measured.get(name))), end_section=is_last)
    table.add_row(*map(Text, _money_row("all", account.total, figures.total if figures is not None else None)))
    return table


def _money_row(name: str, line: Warmed, row: PredictorFigures | None) -> tuple[str, ...]:
    ledger = (str(line.hits), usd(line.saved_nanousd))
    if row is None:
        return (name, str(line.calls), usd(line.cost_nanousd), "-", "-", "-", "-", "-", *ledger)
    return (
        *(name, str(line.calls), usd(line.cost_nanousd), f"{row.wasted_usd:.6f}"),
        *(_of_warms(row, row.saved_usd, 6), _of_warms(row, row.net_usd, 6)),
        *(_of_warms(row, row.wait_saved_s, 1), _of_warms(row, row.lead_s, 0)),
        *ledger,
    )


def _of_warms(row: PredictorFigures, figure: Interval, digits: int) -> str:
    """Write what came of warms; sums over none of them are zero, and say nothing."""
    return _interval(figure, digits) if row.resolved else "-"


def _interval(figure: Interval, digits: int) -> str:
    """Write a figure with its interval, `?` where there is none."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f} [?]"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f} … {figure.high:.{digits}f}]"


def _json(found: Found) -> dict[str, object]:
    lines = [_line(line) for line in found.account.lines()]
    figures = None if found.figures is None else msgspec.to_builtins(found.figures)
    return {"figures": figures, "ledger": lines, "total": _line(found.account.total), "said": list(said(found))}


def _line(line: Warmed) -> dict[str, object]:
    return {
        name.replace("_nanousd", "_usd"): round(value * NANO, 9) if name.endswith("_nanousd") else value
        for name, value in asdict(line).items()
    }
