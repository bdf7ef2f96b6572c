"""Time zones by name, read from disk once: when a policy file is loaded, never while a request waits."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo


@cache
def zone(name: str) -> tzinfo:
    """Return a zone of the IANA database. Raises KeyError, ValueError or OSError where there is none such."""
    return UTC if name == "UTC" else ZoneInfo(name)
