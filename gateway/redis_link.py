"""The link to one Redis server over redis-py's connection: it connects, signs in and parses.

Never retries, never times out by itself (the lane does), and lets no text of the library out: it may quote a URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from gateway.lane import Command, LinkDown, Refused

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
        try:
            async with asyncio.timeout(self._ping_timeout_s):
                reply, _ = await self.round_trip([("PING",), ("UNLINK", _NO_KEY)])
        except TimeoutError:
            raise LinkDown(f"no answer to PING within {self._ping_timeout_s * 1000:g} ms") from None
        if reply != b"PONG":
            raise LinkDown(f"PING was answered with {reply.code if isinstance(reply, Refused) else 'something else'}")

    async def round_trip(self, commands: Sequence[Command]) -> Sequence[object]:
        """Send all, return one reply for each in order, errors as Refused. Raises LinkDown."""
        if self._connection is None:
            raise LinkDown("not connected")
        try:
            await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            return [await self._reply(self._connection) for _ in commands]
        except (RedisError, OSError) as error:
            raise LinkDown(f"connection lost: {_why(error)}") from error

    async def drop(self) -> None:
        """Close at once; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _reply(self, connection: AbstractConnection) -> object:
        try:
            return await connection.read_response(disable_decoding=True)
        except ReadOnlyError as error:  # a new connection may lead to the new primary, this one never will
            raise LinkDown("the server is a read-only replica") from error
        except ResponseError as error:
            return Refused(code=_code(error))


def _why(error: BaseException) -> str:
    """Say what kind of error it was: the library's own texts may quote a URL or a command's values."""
    cause = error.__cause__ or error.__context__ or error
    return str(cause.strerror or type(cause).__name__) if isinstance(cause, OSError) else type(error).__name__


def _code(error: ResponseError) -> str:
    """Return the first word of Redis' error (OOM, WRONGTYPE, NOPERM …), its own class of it where that was cut off."""
    word = str(error).split(" ", 1)[0]
    return word if word.isupper() else type(error).__name__
