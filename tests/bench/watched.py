"""The gateway as it ships, whose workers answer SIGUSR2 by writing how many asyncio tasks they have.

`python -m tests.bench.watched FILE serve …`. The count goes to FILE.PID. Changes nothing else of the gateway.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from gateway.__main__ import main


def watch(file: str) -> None:
    """Let every child that is forked from here answer SIGUSR2."""

    def tell(number: int, frame: FrameType | None) -> None:
        Path(f"{file}.{os.getpid()}").write_text(str(len(asyncio.all_tasks())))

    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGUSR2, tell))


if __name__ == "__main__":
    watch(sys.argv.pop(1))
    sys.exit(main())
