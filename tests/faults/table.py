"""Prints the fault table with what was seen: `python -m tests.faults.table` plays every row on the real process."""

from __future__ import annotations

import argparse
import asyncio
import sys

from rich.console import Console
from rich.table import Table

from tests.faults.playing import Played, check, names_of, play
from tests.faults.row import Row
from tests.faults.rows import ROWS
from tests.faults.running import Faulty, Got, faulty_gateway
from tests.faults.stories import NAMES, STORIES, warm_up

COLUMNS = ("fault", "backend", "asked as", "wanted", "the caller got", "the providers saw", "")
WIDTH = 190


def seen_by_caller(got: Got) -> str:
    """Say in a few words what came."""
    if got.is_complete:
        return f"complete: {got.text[:32]!r}" + (" …" if len(got.text) > 32 else "")
    if got.broke_off:
        return f"{got.status}, broke off"
    place = f"{got.text!r}, then an error event" if got.text else f"{got.status}"
    return f"{place}: {got.error['code']} ({got.error['source']})"


def seen_by_providers(played: Played) -> str:
    """Say in a few words who was asked, how often, and where the gateway hung up."""
    parts = [f"primary {len(played.primary)}x"]
    if len(played.primary) > 1:
        parts[0] += f" ({1000 * (played.primary[1].at_s - played.primary[0].at_s):.0f} ms apart)"
    if any(asked.hung_up.is_set() for asked in played.primary):
        parts[0] += ", dropped"
    if played.then:
        kinds = ["prefill" if asked.is_prefill else "request" for asked in played.then]
        parts.append(f"fallback {len(played.then)}x ({', '.join(kinds)})")
    if others := played.all - len(played.primary) - len(played.then):
        parts.append(f"others {others}x")
    return "; ".join(parts)


def wanted_of(row: Row) -> str:
    """Say in a few words what the row wants."""
    counts = f"{row.asked} + {row.fell_back}"
    return f"{row.wanted}{' ' + row.code if row.code else ''}, calls {counts}"


async def fill(table: Table, faulty: Faulty, part: str) -> int:
    """Play what has `part` in its name; return how many were not as they must be."""
    wrong = 0

    def add(*cells: str, problem: str) -> None:
        nonlocal wrong
        wrong += bool(problem)
        table.add_row(*cells, f"WRONG {problem}" if problem else "ok")

    for row in ROWS:
        for mode in row.modes if part in f"{row.backend}-{row.name}" else ():
            played, problem = await play(faulty, row, mode), ""
            try:
                check(row, mode, played)
            except (AssertionError, TimeoutError) as error:
                problem = str(error)[:200] or f"asked {len(played.primary)} + {len(played.then)}"
            caller, providers = seen_by_caller(played.got), seen_by_providers(played)
            add(row.name, row.backend, mode, wanted_of(row), caller, providers, problem=problem)
    for story in STORIES:
        for mode in story.modes if part in f"{story.backend}-{story.name}" else ():
            faulty.reset()
            told, problem = "", ""
            try:
                told = await story.tell(faulty, story.backend, mode)
            except (AssertionError, TimeoutError) as error:
                problem = str(error)[:200] or type(error).__name__
            wanted = (story.tell.__doc__ or "").strip()
            add(story.name, story.backend, mode, wanted, told, _counts(faulty.counts), problem=problem)
    return wrong


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{model} {count}x" for model, count in sorted(counts.items()))


async def run(part: str, console: Console) -> int:
    """Play and print; return how many rows were not as they must be."""
    table = Table(*COLUMNS, title="What each fault gets: seen on the real process", show_lines=False)
    async with faulty_gateway(sorted({*names_of(ROWS), *NAMES})) as faulty:
        await warm_up(faulty)
        wrong = await fill(table, faulty, part)
    console.print(table)
    console.print(f"{table.row_count} cases, {wrong} wrong")
    return wrong


def main() -> int:
    """Print the table and return 1 where a row is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in BACKEND-NAME")
    options = parser.parse_args()
    return min(1, asyncio.run(run(options.only, Console(width=WIDTH))))


if __name__ == "__main__":
    sys.exit(main())
