"""How many processors this process may use, by its affinity and its control group's quota. Reads /sys, nothing else."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Linux control groups version 2: `max 100000`, or microseconds in each period of microseconds."""
MOST = 256


def available_cores(quota: Path = QUOTA) -> int:
    """Return at least 1 and at most MOST; a container with 2 of a machine's 64 processors has 2."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        if allowed != "max":
            cores = min(cores, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no such quota here
    return max(1, min(cores, MOST))
