"""How many bytes of memory each class of entries may take, and which entry goes when it is too much.

Knows names and sizes only. Of a random few of a class the least valuable goes, the oldest of equals: what Redis does
for its own memory, and no order has to be kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

SAMPLE: Final = 16
Name = tuple[str, str, str]
"""Tenant, scope, entry id."""


@dataclass(slots=True, kw_only=True)
class _Class:
    size_bytes: int = 0
    names: list[Name] = field(default_factory=list)
    places: dict[Name, int] = field(default_factory=dict)
    worth: dict[Name, tuple[float, float, int]] = field(default_factory=dict)


class Quota:
    """The books. A class may take `class_share` of `max_bytes`, all together `max_bytes`."""

    def __init__(self, *, max_bytes: int, class_share: float, rng: random.Random) -> None:
        self._max_bytes = max_bytes
        self._class_share = class_share
        self._rng = rng
        self._classes: dict[str, _Class] = {}
        self.size_bytes = 0

    def add(self, name: Name, *, kind: str, value: float, created_at: float, size_bytes: int) -> None:
        """Book an entry of class `kind`, replacing."""
        self.remove(name, kind=kind)
        found = self._classes.setdefault(kind, _Class())
        found.places[name] = len(found.names)
        found.names.append(name)
        found.worth[name] = (value, created_at, size_bytes)
        found.size_bytes += size_bytes
        self.size_bytes += size_bytes

    def remove(self, name: Name, *, kind: str) -> None:
        """Take an entry off the books; unknown ones are ignored."""
        found = self._classes.get(kind)
        if found is None or name not in found.places:
            return
        place, last = found.places.pop(name), found.names.pop()
        if last != name:
            found.names[place] = last
            found.places[last] = place
        _, _, size_bytes = found.worth.pop(name)
        found.size_bytes -= size_bytes
        self.size_bytes -= size_bytes
        if not found.names:
            del self._classes[kind]

    def too_many(self) -> Sequence[tuple[str, Name]]:
        """Return one entry that must go, with its class, or nothing while all are within their bounds."""
        over = [kind for kind, one in self._classes.items() if one.size_bytes > self._class_share * self._max_bytes]
        if not over and self.size_bytes <= self._max_bytes:
            return ()
        kind = max(over or self._classes, key=lambda kind: self._classes[kind].size_bytes)
        found = self._classes[kind]
        drawn = self._rng.sample(found.names, min(SAMPLE, len(found.names)))
        return ((kind, min(drawn, key=lambda name: found.worth[name][:2])),)
