"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the distribution's version, "unknown" when run from files that nobody installed."""
    try:
        return version("foreword")
    except PackageNotFoundError:
        return "unknown"
