"""`make bench-micro`: microseconds and instructions of every pure step; text, JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.instructions import instructions
from tests.bench.machine import described
from tests.bench.steps import STEPS
from tests.bench.table import RESULTS

SUITE = Path(__file__).with_name("pure_steps.py")
QUIET = ("-q", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider")
BENCHMARK = ("--benchmark-only", "--benchmark-quiet", "--benchmark-max-time=0.3")


def main() -> int:
    """Time, count, print, write; pytest's exit code."""
    parser = argparse.ArgumentParser(prog="make bench-micro", description=__doc__)
    parser.add_argument("--no-instructions", action="store_true", help="only time: counting takes a minute")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the JSON file")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    raw = options.out / "micro-raw.json"
    suite = [sys.executable, "-m", "pytest", str(SUITE), *QUIET, *BENCHMARK, f"--benchmark-json={raw}"]
    code = subprocess.run(suite, check=False).returncode
    if code != 0:
        return code
    found = json.loads(raw.read_text())["benchmarks"]
    times_us = {one["params"]["name"]: {k: one["stats"][k] * 1e6 for k in ("min", "median", "iqr")} for one in found}
    raw.unlink()
    counted: dict[str, int] | str = "instructions were not asked for" if options.no_instructions else instructions()
    about, console = described(), Console(width=110)
    title = f"{about['machine']}, {about['date']}, commit {about['commit']}, load average {about['load']}"
    table = Table(title=f"pure steps of a request\n{title}")
    for column in ("step", "least µs", "median µs", "quartiles apart µs", "instructions"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name in STEPS:
        count = f"{counted[name]:,}" if isinstance(counted, dict) else "-"
        table.add_row(name, *(f"{times_us[name][key]:.2f}" for key in ("min", "median", "iqr")), count)
    console.print(table)
    if isinstance(counted, str):
        console.print(counted)
    document = {"about": about, "times_us": times_us, "instructions": counted}
    (options.out / "micro.json").write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"written: {options.out}/micro.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
