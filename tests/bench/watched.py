"""The gateway as it ships, whose workers answer SIGUSR2 by writing their asyncio tasks and how many objects live.

`python -m tests.bench.watched FILE serve …`. One line of JSON goes to FILE.PID. Changes nothing else of the gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from gateway.__main__ import main


def watch(file: str) -> None:
    """Let every child that is forked from here answer SIGUSR2."""

    def tell(number: int, frame: FrameType | None) -> None:
        told = {"tasks": Counter(map(name_of, asyncio.all_tasks())), "blocks": sys.getallocatedblocks()}
        Path(f"{file}.{os.getpid()}").write_text(json.dumps(told) + "\n")

    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGUSR2, tell))


def name_of(task: asyncio.Task[object]) -> str:
    """Return a task's name; where nobody gave it one, what it runs."""
    name = task.get_name()
    return getattr(task.get_coro(), "__qualname__", name) if name.startswith("Task-") else name


if __name__ == "__main__":
    watch(sys.argv.pop(1))
    sys.exit(main())
