"""What Linux says of processes and of this machine: CPU time to the nanosecond, memory, cores. Starts nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gateway.clock import SystemClock

PROC = Path("/proc")
SERVER_CORE, LOAD_CORE = 0, 1
"""The server under test has a core alone; load generator, provider, Redis and warmer share the other."""


def tree(pid: int) -> tuple[int, ...]:
    """Return `pid` and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in PROC.glob(f"{parent}/task/*/children"):
            found += [int(child) for child in children.read_text().split()]
    return tuple(found)


def name_of(pid: int) -> str:
    """Return the process's own short name."""
    return (PROC / str(pid) / "comm").read_text().strip()


def command_of(pid: int) -> str:
    """Return the process's command line, its words apart by spaces."""
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")


def cpu_s(pids: Collection[int]) -> float:
    """Return the seconds of CPU that all threads of these processes have used, in user and kernel mode.

    From schedstat, which counts nanoseconds; utime and stime of /proc/PID/stat count hundredths of a second.
    """
    total_ns = 0
    for pid in pids:
        for task in (PROC / str(pid) / "task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def memory_kib(pids: Collection[int]) -> tuple[int, int]:
    """Return (RSS, PSS) of these processes together; PSS shares out what they have in common."""
    rss = pss = 0
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            words = line.split()
            rss += int(words[1]) if words[0] == "Rss:" else 0
            pss += int(words[1]) if words[0] == "Pss:" else 0
    return rss, pss


def open_files(pids: Collection[int]) -> int:
    """Return how many descriptors these processes hold."""
    return sum(len(os.listdir(PROC / str(pid) / "fd")) for pid in pids)


def pin(pids: Collection[int], core: int) -> None:
    """Keep all threads of these processes on `core`; nothing where the machine has no such core."""
    if core in range(os.cpu_count() or 1):
        for pid in pids:
            for task in (PROC / str(pid) / "task").iterdir():
                os.sched_setaffinity(int(task.name), {core})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Start what is started inside on `core`."""
    before = os.sched_getaffinity(0)
    if core in before:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def described() -> dict[str, str]:
    """Say what the figures are of: machine, interpreter, commit, date, and how busy it was; no name, no path."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "machine": f"{os.cpu_count()}-core machine, Python {platform.python_version()}",
        "date": datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip() or "unknown",
        "load": f"{os.getloadavg()[0]:.2f}",
    }
