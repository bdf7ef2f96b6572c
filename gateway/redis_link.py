"""The link to one Redis server: redis-py's connection connects and signs in, then our own protocol takes over.

Never retries, never times out by itself (the lane does), and lets no text of the library out: it may quote a URL.
Packing and parsing here costs a third of what redis-py's does (deploy/adr/0006).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError

from gateway.lane import LinkDown, Refused
from gateway.resp import ReplyReader, pack
from gateway.waiting import Command

_NO_KEY = "foreword:no-such-key"


class Connection:
    """A Link (gateway.lane) for one URL. Raises ValueError where the URL is none."""

    def __init__(self, url: str, *, ping_timeout_s: float) -> None:
        pool = ConnectionPool.from_url(url)  # reads the URL; its connections are never used
        self._class = pool.connection_class
        self._options = pool.connection_kwargs | {
            "protocol": 2,  # no HELLO, no push messages between replies
            "maint_notifications_config": None,
            "maint_notifications_pool_handler": None,
            "driver_info": None,
            "decode_responses": False,
            "socket_timeout": None,
            "retry": None,
            "retry_on_timeout": False,
            "retry_on_error": [],
            "health_check_interval": 0,
        }
        self._ping_timeout_s = ping_timeout_s
        self._connection: AbstractConnection | None = None
        self._wire: _Wire | None = None
        try:
            self._new()
        except (TypeError, RedisError) as error:
            raise ValueError(f"redis URL: {error}: must have options that redis-py knows, or none") from error

    def _new(self) -> AbstractConnection:
        return self._class(**self._options)

    async def open(self) -> None:
        """Connect, sign in and prove it by a PING and a write that changes nothing. Raises LinkDown.

        The write, because during a failover a replica takes connections before it is the primary.
        """
        await self.drop()
        self._connection = connection = self._new()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        except (RedisError, OSError) as error:
            raise LinkDown(f"cannot connect: {_why(error)}") from error
        self._wire = _Wire.take_over(connection)
        try:
            async with asyncio.timeout(self._ping_timeout_s):
                reply, _ = await self.round_trip([("PING",), ("UNLINK", _NO_KEY)])
        except TimeoutError:
            raise LinkDown(f"no answer to PING within {self._ping_timeout_s * 1000:g} ms") from None
        if reply != b"PONG":
            raise LinkDown(f"PING was answered with {reply.code if isinstance(reply, Refused) else 'something else'}")

    async def round_trip(self, commands: Sequence[Command]) -> Sequence[object]:
        """Send all, return one reply for each in order, errors as Refused. Raises LinkDown."""
        if self._wire is None:
            raise LinkDown("not connected")
        replies = await self._wire.exchange(pack(commands), len(commands))
        for reply in replies:
            if isinstance(reply, Refused) and reply.code == "READONLY":
                # A new connection may lead to the new primary, this one never will.
                raise LinkDown("the server is a read-only replica")
        return replies

    async def drop(self) -> None:
        """Close at once; idempotent."""
        connection, self._connection, self._wire = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class _Wire(asyncio.Protocol):
    """The bytes of one connection. One exchange at a time; cancelling it spoils the wire."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._reader = ReplyReader()
        self._replies: list[object] = []
        self._wanted = 0
        self._arrived: asyncio.Future[None] | None = None
        self._broken: LinkDown | None = None

    @classmethod
    def take_over(cls, connection: AbstractConnection) -> _Wire:
        """Return the wire under a connection that has just signed in. Raises LinkDown where it is gone already."""
        writer = connection._writer
        if writer is None or writer.is_closing():
            raise LinkDown("connection lost")
        wire = cls(writer.transport)
        writer.transport.set_protocol(wire)
        return wire

    async def exchange(self, packed: bytes, count: int) -> Sequence[object]:
        """Send, and return `count` replies. Raises LinkDown."""
        if self._broken is not None:
            raise self._broken
        self._wanted = count
        self._arrived = asyncio.get_running_loop().create_future()
        self._transport.write(packed)
        await self._arrived
        replies, self._replies = self._replies, []
        return replies

    def data_received(self, data: bytes) -> None:
        """Keep whole replies; wake whoever waits for the last of them."""
        try:
            self._replies += self._reader.feed(data)
        except LinkDown as error:
            self._break(error)
            return
        if len(self._replies) > self._wanted:
            self._break(LinkDown("the server answers what nobody asked"))
        elif len(self._replies) == self._wanted and self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        self._break(LinkDown(f"connection lost: {_why(error) if error is not None else 'closed by the server'}"))

    def _break(self, error: LinkDown) -> None:
        self._broken = self._broken or error
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(error)


def _why(error: BaseException) -> str:
    """Say what kind of error it was: the library's own texts may quote a URL or a command's values."""
    cause = error.__cause__ or error.__context__ or error
    return str(cause.strerror or type(cause).__name__) if isinstance(cause, OSError) else type(error).__name__
