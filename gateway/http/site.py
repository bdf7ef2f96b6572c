"""Accepts connections on a listener that several workers share, so that each gets its part of them.

Must not know what is served. uvloop's own listener takes every connection that waits when it wakes, and one worker then
has them all.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Final

from aiohttp import web

from gateway.inherited import Places

PAUSE_S: Final = 0.1
"""How long nothing is accepted after the system has refused a descriptor or memory; asyncio waits as well."""
YIELD_S: Final = 0.002
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


class Crowd:
    """This worker's connections among those of the others."""

    def __init__(self, places: Places, number: int) -> None:
        self._places = places
        self._number = number
        self.connections = 0
        places.set(number, 0)

    def changed(self, by: int) -> None:
        """Count connections that came or went."""
        self.connections += by
        self._places.set(self._number, self.connections)

    def has_fewest(self) -> bool:
        """Return whether no other worker has fewer."""
        return self._places.has_fewest(self._number)


class SharedSite(web.BaseSite):
    """One listener of this worker. It takes one connection a turn of the event loop: the busier, the fewer.

    While another worker has fewer connections, that one is given `YIELD_S` to come first.
    """

    __slots__ = ("_crowd", "_listener", "_opening", "_resumption", "_spawn")

    def __init__(self, runner: web.AppRunner, listener: socket.socket, *, crowd: Crowd, spawn: Spawn) -> None:
        super().__init__(runner)
        self._listener = listener
        self._crowd = crowd
        self._spawn = spawn
        self._opening: set[asyncio.Task[None]] = set()
        self._resumption: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        self._resume()

    async def stop(self) -> None:
        """Accept nothing more and close this process's copy of the listener; what was accepted is served."""
        if self._resumption is not None:
            self._resumption.cancel()
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        if self._opening:
            await asyncio.wait(self._opening)
        await super().stop()

    def _resume(self) -> None:
        self._resumption = None
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._hear)

    def _pause(self, delay_s: float, then: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.fileno())
        self._resumption = loop.call_later(delay_s, then)

    def _hear(self) -> None:
        if self._crowd.has_fewest():
            self._accept()
        else:
            self._pause(YIELD_S, self._accept_late)

    def _accept_late(self) -> None:
        self._resume()
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was quicker, or the client has left
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(PAUSE_S, self._resume)
            return
        connection.setblocking(False)
        task = self._spawn(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        server = self._runner.server
        if server is None:
            connection.close()
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(server, connection)
        except OSError:
            connection.close()  # it was gone before it began
