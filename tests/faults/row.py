"""One row of reliability.md's fault table, and how rows are made of each other. Knows no provider's words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tests import anthropic_provider as anthropic
from tests.faults.running import BACKUP_TEXT, Backend, Mode
from tests.provider import Reply

Wanted = Literal["complete", "error", "error event"]
AnyReply = Reply | anthropic.Reply
STREAM: tuple[Mode, ...] = ("stream",)
WHOLE: tuple[Mode, ...] = ("whole",)
OPENAI_TEXT = "Hello there, bot."


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault of a provider on `backend`. `replies` are the primary's in order, `always` what it answers after them.

    `route` "alone" has no fallback, "" has `backup`, others the fallback of their name; `then` are the fallback's
    replies in order. `asked` and `fell_back`: how often each must be asked, and nobody else; `prefills`: for each time
    that the fallback was asked, whether it was to continue an assistant message. `hangs_up`: the gateway must drop the
    primary's connection. `apart_s`: how long after the first try the second may come at the soonest.
    """

    name: str
    backend: Backend = "openai"
    replies: tuple[AnyReply, ...] = ()
    always: AnyReply | None = None
    then: tuple[AnyReply, ...] = ()
    route: str = ""
    modes: tuple[Mode, ...] = ("stream", "whole")
    wanted: Wanted = "complete"
    text: str = ""
    asked: int = 1
    fell_back: int = 0
    prefills: tuple[bool, ...] = ()
    status: int = 200
    code: str = ""
    source: str = ""
    said: str = ""
    hangs_up: bool = False
    apart_s: float = 0.0

    def text_in(self, mode: Mode) -> str:
        """Return the text of a complete answer; Anthropic's words come without spaces where they are streamed."""
        if self.text:
            return self.text
        if self.fell_back and not self.route:
            return BACKUP_TEXT
        if self.backend == "openai":
            return OPENAI_TEXT
        return "Hellothere." if mode == "stream" else "Hello there."


def alone(row: Row, **changes: object) -> Row:
    """Return the row where there is no fallback."""
    changed = {"name": row.name + "-alone", "route": "alone", "fell_back": 0, "wanted": "error", **changes}
    return replace(row, **changed)  # type: ignore[arg-type]


def event(row: Row, **changes: object) -> Row:
    """Return the row of a stream that breaks after its first words where there is no fallback: an error event."""
    return alone(row, **{"wanted": "error event", **changes})


def fallback(name: str, always: AnyReply, **changes: object) -> Row:
    """Return the row of a fault that lasts, for which the backup answers."""
    return replace(Row(name=name, always=always, fell_back=1), **changes)  # type: ignore[arg-type]


def rescued(name: str, always: AnyReply, **changes: object) -> Row:
    """Return the row of a stream that breaks after its first words, and that the fallback completes."""
    return replace(
        Row(name=name, always=always, route="twin", modes=STREAM, fell_back=1, prefills=(False,)),
        **changes,  # type: ignore[arg-type]
    )
