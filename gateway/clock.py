"""The one place that asks the operating system for the time."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Real time: `monotonic` for durations, `now` for what is written down (Unix seconds)."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
