"""One Redis server as a store sees it: its lane, and whether it has room for what is written.

Must not know what keys mean, nor that there may be other servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.lane import Lane, Refused, Standing, Transition
from gateway.ports import StoreUnavailable
from gateway.waiting import Command, Told

_GROWING: Final = frozenset({"SET", "XADD", "HSET", "HSETNX"})
FULL: Final = frozenset({"OOM", "OutOfMemoryError"})
"""How a server says that it has no room."""
_ROOM_WRITES: Final = 8


class Road(Protocol):
    """The way to all keys: one server, or a Cluster of them (gateway.redis_cluster)."""

    @property
    def state(self) -> Standing: ...

    async def ask(self, *commands: Command) -> Sequence[object]:
        """Return one reply for each command, Refused where the server said no. Raises StoreUnavailable."""
        ...

    def post(self, *commands: Command, told: Told) -> None:
        """Send soon, in order with what was asked before for the same keys, all of one slot.

        `told` hears the replies or None, once or once for each command.
        """
        ...

    async def each(self) -> Sequence[Node]:
        """Return the servers that hold keys. Raises StoreUnavailable."""
        ...

    async def close(self) -> None: ...


class Node:
    """A Road of one server. `make_lane` is given who hears of transitions; `name` goes into their reasons."""

    def __init__(
        self,
        make_lane: Callable[[Callable[[Transition], None]], Lane],
        *,
        on_transition: Callable[[Transition], None] | None,
        name: str = "",
    ) -> None:
        self._room = Room(on_transition, name=name)
        self._lane = make_lane(self._room.moved)

    @property
    def state(self) -> Standing:
        """Return "down" from the first failure until a probe has succeeded, "full" while it has no room for writes."""
        return "full" if self._lane.state == "up" and self._room.is_full else self._lane.state

    async def ask(self, *commands: Command) -> Sequence[object]:
        """See Road."""
        return self.taken(commands, await self.begin(*commands))

    def begin(self, *commands: Command) -> asyncio.Future[Sequence[object] | None]:
        """Send, and return what `taken` makes replies of; cancel it to leave. Raises StoreUnavailable."""
        return self._lane.begin(*commands)

    def taken(self, commands: Sequence[Command], replies: Sequence[object] | None) -> Sequence[object]:
        """Learn from what `begin` came to, and return the replies. Raises StoreUnavailable where there are none."""
        if replies is None:
            raise StoreUnavailable(self._lane.reason)
        self._room.note(commands, replies)
        return replies

    def post(self, *commands: Command, told: Told) -> None:
        """See Road; they stay together."""

        def heard(replies: Sequence[object] | None) -> None:
            if replies is not None:
                self._room.note(commands, replies)
            told(replies)

        self._lane.post(*commands, told=heard)

    async def each(self) -> Sequence[Node]:
        """Return this one."""
        return (self,)

    async def close(self) -> None:
        """Drop the connection; idempotent."""
        await self._lane.close()


class Room:
    """Whether the server has room for what is written, told once each way; any other transition is passed on."""

    def __init__(self, on_transition: Callable[[Transition], None] | None, *, name: str = "") -> None:
        self._on_transition = on_transition
        self._prefix = f"{name}: " if name else ""
        self._accepted = 0
        self.is_full = False

    def moved(self, transition: Transition) -> None:
        """Take a transition of the lane: what was known of a server that went away is not known any more."""
        self.is_full = False
        if self._on_transition is not None:
            self._on_transition(Transition(state=transition.state, reason=self._prefix + transition.reason))

    def note(self, commands: Sequence[Command], replies: Sequence[object]) -> None:
        """Learn from replies. At the brink small writes pass and large ones do not: several in a row must pass."""
        if not self.is_full:
            for reply in replies:
                if isinstance(reply, Refused):
                    break
            else:
                return
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Refused) and reply.code in FULL:
                self._accepted = 0
                if not self.is_full:
                    self.moved(Transition(state="full", reason=f"{command[0]!s} refused: out of memory"))
                    self.is_full = True
            elif command[0] in _GROWING and not isinstance(reply, Refused):
                self._accepted += 1
        if self.is_full and self._accepted >= _ROOM_WRITES:
            self.moved(Transition(state="up", reason="writes are accepted again"))
