"""The one place that asks the operating system for the time."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Real time: `monotonic` for durations, `now` for what is written down (Unix seconds)."""

    monotonic = staticmethod(time.monotonic)
    now = staticmethod(time.time)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
