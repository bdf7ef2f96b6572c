"""Windows are calendar windows: local, whole, and without gaps where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.calendar import window_at
from policies.rules import BudgetWindow

WINDOWS: tuple[BudgetWindow, ...] = ("minute", "hour", "day", "week", "month")


def at(text: str) -> float:
    """Return the Unix time of an ISO instant."""
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("window", "tz", "now", "label", "ends"),
    [
        ("minute", "UTC", "2026-11-22T10:15:59.999+00:00", "2026-11-22T10:15Z", "2026-11-22T10:16:00+00:00"),
        ("hour", "UTC", "2026-11-22T10:00:00+00:00", "2026-11-22T10:00Z", "2026-11-22T11:00:00+00:00"),
        ("hour", "Asia/Kolkata", "2026-11-22T10:15:00+05:30", "2026-11-22T04:30Z", "2026-11-22T11:00:00+05:30"),
        ("day", "Europe/Berlin", "2026-11-22T00:00:00+01:00", "2026-11-22", "2026-11-23T00:00:00+01:00"),
        # 25 hours: the clocks go back on 25 October.
        ("day", "Europe/Berlin", "2026-10-25T12:00:00+01:00", "2026-10-25", "2026-10-26T00:00:00+01:00"),
        ("week", "UTC", "2026-11-22T23:59:59+00:00", "2026-W47", "2026-11-23T00:00:00+00:00"),
        ("month", "America/New_York", "2026-11-30T23:00:00-05:00", "2026-11", "2026-12-01T00:00:00-05:00"),
    ],
)
def test_a_window_is_the_calendars(window: BudgetWindow, tz: str, now: str, label: str, ends: str) -> None:
    found = window_at(at(now), window, tz)
    assert (found.label, datetime.fromtimestamp(found.ends_at, UTC)) == (label, datetime.fromisoformat(ends))


@given(
    now=st.floats(min_value=1.7e9, max_value=1.9e9),
    window=st.sampled_from(WINDOWS),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_windows_follow_each_other_without_gap_or_overlap(now: float, window: BudgetWindow, tz: str) -> None:
    found = window_at(now, window, tz)
    assert found.ends_at > now
    following = window_at(found.ends_at, window, tz)
    assert following.label != found.label
    assert window_at(found.ends_at - 0.001, window, tz) == found
