"""What this process holds, as the kernel tells: its memory over time and its open descriptors. No product code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import LinearRegression, linear_regression

SAMPLE_S = 0.5
KIB = 1024


@dataclass(slots=True, kw_only=True)
class Memory:
    """How much was resident (KiB) once so many requests had been sent, in order."""

    samples: list[tuple[int, int]] = field(default_factory=list)

    async def watch(self, sent: Callable[[], int], stop: float) -> None:
        """Take a sample twice a second until the loop's clock says `stop`."""
        while asyncio.get_running_loop().time() < stop:
            self.samples.append((sent(), await asyncio.to_thread(resident_kib)))
            await asyncio.sleep(SAMPLE_S)

    @property
    def bytes_per_request(self) -> float:
        """The slope of the second half, by least squares: caches, pools and the heap have filled up by then."""
        fit = self._fit()
        return fit.slope * KIB if fit is not None else 0.0

    @property
    def grown_kib(self) -> float:
        """How much that is over the second half."""
        fit, half = self._fit(), self._second_half()
        return fit.slope * (half[-1][0] - half[0][0]) if fit is not None else 0.0

    @property
    def kib(self) -> tuple[int, int, int]:
        """Resident at the start, at half time and at the end."""
        first, half, last = (self.samples or [(0, 0)])[:1], self._second_half()[:1], self.samples[-1:]
        return first[0][1], (half or first)[0][1], (last or first)[0][1]

    def _second_half(self) -> list[tuple[int, int]]:
        return self.samples[len(self.samples) // 2 :]

    def _fit(self) -> LinearRegression | None:
        half = self._second_half()
        if len({sent for sent, _ in half}) < 2:
            return None
        return linear_regression([float(sent) for sent, _ in half], [float(kib) for _, kib in half])


def resident_kib() -> int:
    """Return what this process holds in memory; blocks."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def open_descriptors() -> int:
    """Return how many sockets, pipes and files are open; blocks. Listing them opens one more, which is not counted."""
    return len(os.listdir("/proc/self/fd")) - 1
