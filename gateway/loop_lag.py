"""Observes how late a worker's event loop is, and lets other processes see what was recorded here.

Must not record anything else.
"""

from __future__ import annotations

from typing import Final

from gateway.metrics import Metrics
from gateway.ports import Clock

FLUSH_S: Final = 0.1


async def watch_loop_lag(metrics: Metrics, clock: Clock, *, interval_s: float = FLUSH_S) -> None:
    """Every `interval_s` observe how late the event loop is and flush `metrics`, for ever; cancel to end it."""
    try:
        while True:
            due = clock.monotonic() + interval_s
            await clock.sleep(interval_s)
            metrics.loop_lag(max(0.0, clock.monotonic() - due))
            metrics.flush()
    finally:
        metrics.flush()
