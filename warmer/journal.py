"""What is about to be asked, noted before it is: after a crash nothing of it is asked again or left uncharged.

Must not ask. Intents stay until what became of them is saved elsewhere; a batch's number says whether it is.
"""

from __future__ import annotations

import msgspec

from warmer.state import dump, restore
from warmer.trials import Trial

VERSION = 1
NAME = "intents"


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One warm about to be asked, at its worst case; `key` is what it will be kept under, `target` what it was for."""

    batch: int
    key: str
    target: str
    bound_nanousd: int
    trial: Trial


class Journal(msgspec.Struct, kw_only=True):
    """The intents since the last save of everything, and the number of their last batch."""

    batch: int = 0
    intents: list[Intent] = msgspec.field(default_factory=list)

    def dump(self) -> bytes:
        """Return it as bytes."""
        return dump(self, version=VERSION)


def journal_of(saved: bytes | None) -> Journal:
    """Return what was saved, or an empty one."""
    return restore(saved, Journal, version=VERSION) or Journal()
