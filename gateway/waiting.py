"""A caller's place in a lane: what it asked, until when it waits, and who gets the replies. Sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

Command = tuple[str | bytes | int, ...]
Told = Callable[[Sequence[object] | None], None]
"""Hears the replies of posted commands, None where there were none; must not raise."""


class Waiting:
    """A caller's commands, and who gets their replies (None: unavailable): a future, or a function where posted."""

    __slots__ = ("commands", "due", "future", "told")

    def __init__(self, commands: tuple[Command, ...], due: float) -> None:
        self.commands = commands
        self.due = due
        self.future: asyncio.Future[Sequence[object] | None] | None = None
        self.told: Told | None = None

    @property
    def is_over(self) -> bool:
        """Whether it was answered, or its caller has left."""
        return self.told is None and (self.future is None or self.future.done())

    def answer(self, replies: Sequence[object] | None) -> None:
        """Hand over the replies, once."""
        if self.told is not None:
            told, self.told = self.told, None
            told(replies)
        elif self.future is not None and not self.future.done():
            self.future.set_result(replies)
