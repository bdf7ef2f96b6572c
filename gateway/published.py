"""The warmer's figures as it publishes them: a field beside its notes, so that the leader alone can write it."""

from __future__ import annotations

from typing import Final

import msgspec

from warmer.figures import Figures

FIGURES: Final = "figures"
"""The name of the note."""


def dump(figures: Figures) -> bytes:
    """Return what is published, as JSON."""
    return msgspec.json.encode(figures)


def load(published: bytes | None) -> Figures | None:
    """Return the figures, None for none and for those of another version."""
    try:
        return None if published is None else msgspec.json.decode(published, type=Figures)
    except msgspec.DecodeError:
        return None
