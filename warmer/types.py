"""What the warmer remembers of requests: when which answer was wanted, never what was said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in the history; later entries compare greater."""

    ms: int
    sequence: int


START = Position(ms=0, sequence=0)
"""Before every entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One request that somebody made. `at_s` is Unix seconds, money nano-dollars, `waited_s` what the caller waited.

    `key` is the exact cache key: a digest, from which no text can be had. `cost_nanousd` is what a hit would save.
    """

    at_s: float
    tenant: str
    key: str
    session: str
    route: str
    model: str
    was_hit: bool
    waited_s: float
    cost_nanousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the history. `event` is None for what says nothing about demand: it is passed over."""

    position: Position
    event: Event | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far the recorder has read: the entry its window begins after, and the last one that it counted."""

    window_after: Position
    counted: Position
