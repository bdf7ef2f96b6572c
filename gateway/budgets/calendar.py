"""Calendar windows: which minute, hour, day, week or month an instant is in, in a time zone. Reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from policies.rules import BudgetWindow
from policies.zones import zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One calendar window. `label` names it among those of its kind and zone; `ends_at` in Unix seconds."""

    label: str
    ends_at: float


def window_at(now: float, window: BudgetWindow, tz: str) -> Window:
    """Return the window that the Unix time `now` is in.

    Minutes and hours are counted in absolute time, so that an hour which the clocks repeat is two windows; days, weeks
    (from Monday) and months begin at local midnight, and last 23 or 25 hours where the clocks change.
    """
    if window in ("minute", "hour"):
        length_s = 60 if window == "minute" else 3600
        offset_s = int(_local(now, tz).utcoffset().total_seconds()) if window == "hour" else 0  # type: ignore[union-attr]
        began = int((now + offset_s) // length_s) * length_s - offset_s
        label = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%MZ")
        return Window(label=label, ends_at=float(began + length_s))
    midnight = _local(now, tz).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        begins, ends = midnight, midnight + timedelta(days=1)
        label = begins.strftime("%Y-%m-%d")
    elif window == "week":
        begins = midnight - timedelta(days=midnight.weekday())
        ends = begins + timedelta(days=7)
        label = begins.strftime("%G-W%V")
    else:
        begins = midnight.replace(day=1)
        ends = (begins + timedelta(days=32)).replace(day=1)
        label = begins.strftime("%Y-%m")
    # Python adds to the wall clock: the end is the next local midnight, whatever the offset is by then.
    return Window(label=label, ends_at=ends.timestamp())


def _local(now: float, tz: str) -> datetime:
    return datetime.fromtimestamp(now, zone(tz))
