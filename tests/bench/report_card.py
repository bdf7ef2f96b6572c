"""`make report-card`: six hours of the composed bot week through the real gateway, a row for each thing turned on.

Markdown, JSON and a chart in bench-results/; `--readme` puts the Markdown into tests/bench/README.md too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from tests.bench import report_card_report as report
from tests.bench.machine import described
from tests.bench.report_card_claims import claims
from tests.bench.report_card_measure import Measured, Setup, session, sustained
from tests.bench.report_card_rows import BASELINE, ROWS, Row
from tests.bench.report_card_score import Card, card
from tests.bench.report_card_week import Week, is_skipped, slice_of

RESULTS = Path("bench-results")
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- report card: begin -->\n", "<!-- report card: end -->"
HOUR_S = 3600.0
FULL = Setup(
    seed=20_261_127,
    begin_s=37 * HOUR_S,
    end_s=43 * HOUR_S,
    before_s=10 * HOUR_S,
    arrivals=400.0,
    latencies=10.0,
    places=16,
    slo_s=30.0,
    lead_s=90.0,
    tried=160,
    trials=4,
)
QUICK = msgspec.structs.replace(FULL, before_s=HOUR_S, end_s=38 * HOUR_S, tried=60, trials=1)


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make report-card", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an hour of the week instead of six: does it run")
    parser.add_argument("--seed", type=int, default=FULL.seed, help="of waits, arrivals, announcements and resampling")
    parser.add_argument("--rows", default="", help="numbers of rows to measure, such as 0,2; the first is always")
    parser.add_argument("--readme", action="store_true", help="put the tables into tests/bench/README.md")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the files")
    return parser.parse_args(arguments)


def week_of(setup: Setup) -> Week:
    """Cut the week into what is history, what is measured, and what the tries of a rate take."""
    after = slice_of(setup.end_s, setup.end_s + 7 * 24 * HOUR_S)[: setup.tried * setup.trials]
    before = slice_of(setup.begin_s - setup.before_s, setup.begin_s)
    return Week(before=before, measured=slice_of(setup.begin_s, setup.end_s), after=after)


def measured(row: Row, setup: Setup, week: Week, console: Console) -> Measured:
    """Measure one row, and say so."""
    with session(row, setup) as running:
        if row.warming and not running.can_warm:
            if not row.routing:
                return Measured(row=row.name, is_built=False)
            console.print(f"{row.name}: without warming, which is not built in this checkout", highlight=False)
        earlier = running.grown_up(week.before) if row.exact else ()
        replay = running.replayed(week.measured, before=week.before)
        trials = sustained(running, week.after, replay, before=[*week.before, *week.measured])
    console.print(f"{row.name}: {len(replay.done)} interactions, then {len(trials)} rates", highlight=False)
    return msgspec.structs.replace(replay, trials=trials, earlier=earlier)


def into_readme(text: str, *, readme: Path = README) -> None:
    """Put the tables between the marks of tests/bench/README.md, instead of what is there."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    body = text.partition("\n\n")[2]  # the chapter has its own title
    readme.write_text(f"{before}{BEGIN}{body}{END}{after}")


def main() -> int:
    """Measure, print, write; 1 where interactions failed, or where a hit was not what had been stored."""
    options = options_of(sys.argv[1:])
    console = Console(width=190)
    if is_skipped(console):
        return 0
    setup = msgspec.structs.replace(QUICK if options.quick else FULL, seed=options.seed)
    week = week_of(setup)
    numbers = [int(number) for number in options.rows.split(",") if number] or range(len(ROWS))
    chosen = [BASELINE, *(ROWS[number] for number in numbers if ROWS[number] is not BASELINE)]
    about = described()
    found = [measured(row, setup, week, console) for row in chosen]
    cards = [card(one, found[0], week=week, setup=setup) for one in found]
    judged = claims(cards)
    report.show(console, setup, about, cards, judged)
    options.out.mkdir(parents=True, exist_ok=True)
    text = report.markdown(setup, about, cards, judged)
    (options.out / "report-card.md").write_text(text)
    (options.out / "report-card.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({"about": about, "setup": setup, "cards": cards, "measured": found}))
    )
    report.plot(options.out / "report-card.png", setup, about, cards)
    if options.readme:
        into_readme(text)
    console.print(f"written: {options.out}/report-card.md, .json, .png")
    return 1 if any(_is_bad(one) for one in cards) else 0


def _is_bad(one: Card) -> bool:
    return one.is_built and bool(one.failed or one.checked.differed)


if __name__ == "__main__":
    sys.exit(main())
