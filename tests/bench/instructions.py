"""How many instructions each pure step takes: exact where times are not, and the same on a busy machine.

`python -m tests.bench.instructions` runs the steps, with a call of sched_yield before and after each, at which
callgrind writes down what it has counted so far. Measures no time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway.settings import process_environment
from tests.bench.steps import STEPS

REPEATS = 200
WARM_UP = 20
TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def instructions() -> dict[str, int] | str:
    """Return instructions per call by step, or in words why they could not be counted."""
    if shutil.which("valgrind") is None:
        return "instructions are not counted: valgrind is not installed"
    with tempfile.TemporaryDirectory(prefix="fw-callgrind-") as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-before=sched_yield"]
        command.append(f"--callgrind-out-file={folder}/out")
        told = subprocess.run(
            [*command, sys.executable, "-m", "tests.bench.instructions"],
            capture_output=True,
            text=True,
            env={**process_environment(), "PYTHONHASHSEED": "0"},
            check=False,
        )
        if told.returncode != 0:
            return f"instructions are not counted: valgrind: {told.stderr[-300:]}"
        counts = counts_in(Path(folder))
    # A dump before each mark: what precedes the first one is the start, then loop, gap, loop, gap …
    loops = counts[1::2][: 2 * len(STEPS)]
    if len(loops) < 2 * len(STEPS):
        return f"instructions are not counted: {len(counts)} dumps for {len(STEPS)} steps"
    empty, used = loops[0::2], loops[1::2]
    return {name: (b - a) // REPEATS for name, a, b in zip(STEPS, empty, used, strict=True)}


def counts_in(folder: Path) -> list[int]:
    def number(path: Path) -> int:
        return int(path.suffix[1:]) if path.suffix[1:].isdecimal() else 10**9

    found = [TOTAL.search(path.read_text()) for path in sorted(folder.iterdir(), key=number)]
    return [int(match[1]) for match in found if match is not None]


def main() -> None:
    """Run each step between marks, after an empty loop between marks of its own."""
    made = [make() for make in STEPS.values()]
    # Counting begins only now: the imports would take minutes under callgrind.
    subprocess.run(["callgrind_control", "--instr=on", str(os.getpid())], check=True, stdout=subprocess.DEVNULL)
    for step in made:
        for _ in range(WARM_UP):
            step()
        for call in (lambda: None, step):
            os.sched_yield()
            for _ in range(REPEATS):
                call()
            os.sched_yield()


if __name__ == "__main__":
    main()
