"""How the guards' word lists are written: words between spaces, groups between semicolons; it knows none of them."""

from __future__ import annotations


def listed(text: str) -> tuple[str, ...]:
    """Return the words of a list, in order."""
    return tuple(text.split())


def groups(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the words of each group, in order."""
    return tuple(words for group in text.split(";") if (words := tuple(group.split())))


def heads(text: str) -> dict[str, str]:
    """Return each group's every word with the group's first."""
    return {word: group[0] for group in groups(text) for word in group}
