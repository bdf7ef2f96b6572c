"""What the guards read from questions, kept for those that come again: askers', and those of entries near them.

Bounded; belongs to one event loop. Must not know an entry, a vector or a pair.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cache.semantic.guards import Features, features_of


class Readings:
    """Keeps the features of `most` texts at least, twice as many at most: whoever is not asked for goes."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._young: dict[str, Features] = {}
        self._old: dict[str, Features] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def of(self, text: str, words: Sequence[str] | None = None) -> Features:
        """Return a text's features; `words` are its own (guards.words_of), where they have been read already."""
        found = self._young.get(text)
        if found is not None:
            return found
        found = self._old.get(text) or features_of(text, words)
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[text] = found
        return found
