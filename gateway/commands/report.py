"""`foreword report`: what was spent and saved, by tenant, route, model or day, from the ledger."""

from __future__ import annotations

import sys
from dataclasses import asdict

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.commands.history import since, usd, with_history
from gateway.commands.policy import PIPED_WIDTH
from gateway.history.reading import read_history
from gateway.history.spending import By, SpendReport, Spent
from gateway.settings import Settings
from gateway.stores.redis import RedisStore

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2


def report(settings: Settings, *, span: str, by: By, as_json: bool) -> int:
    """Print one line a name, and the total."""
    since_s = since(span)
    if since_s is None:
        return EXIT_CONFIG

    async def read(store: RedisStore | None) -> SpendReport:
        found = SpendReport(by)
        async for outcome in read_history(store, settings.data_dir, since_s=since_s):
            found.add(outcome)
        return found

    found = with_history(settings, read)
    if found is None:
        return EXIT_FAILURE
    if as_json:
        shown = {"since": since_s, "by": by, "lines": [_json(line) for line in found.lines()]}
        sys.stdout.write(orjson.dumps({**shown, "total": _json(found.total)}).decode() + "\n")
        return EXIT_OK
    headings = (
        by,
        "requests",
        "answers",
        "hit rate",
        "failed",
        "tokens in",
        "tokens out",
        "USD",
        "saved USD",
        "warming",
    )
    table = Table(*headings, title=f"the last {span}", title_justify="left")
    for line in (*found.lines(), found.total):
        table.add_row(*map(Text, _row(line)), end_section=line is (found.lines() or (None,))[-1])
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    console.print(table)
    if found.total.unpriced:
        console.print(f"{found.total.unpriced} answers of models without a known price are in no sum")
    return EXIT_OK


def _row(line: Spent) -> tuple[str, ...]:
    counts = (line.requests, line.answers, f"{100 * line.hit_rate:.1f} %", line.failed, line.input_tokens)
    money = (line.output_tokens, usd(line.cost_nanousd), usd(line.saved_nanousd), usd(line.warming_nanousd))
    return (line.name, *map(str, counts), *map(str, money))


def _json(line: Spent) -> dict[str, object]:
    money = {
        name.replace("_nanousd", "_usd"): round(value * 1e-9, 9) if name.endswith("_nanousd") else value
        for name, value in asdict(line).items()
    }
    return {**money, "hit_rate": round(line.hit_rate, 6)}
