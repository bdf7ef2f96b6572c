"""The store of record: Redis 6.2 or later, one server or a Cluster, a connection to each that callers share.

Every command names keys of one slot, so that a Cluster can follow; cache keys
bring their own hash tag. Never logs: callers read `state` or pass `on_transition`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Self

from gateway.clock import SystemClock
from gateway.lane import Refused, Standing, Transition
from gateway.ports import Clock, StoreUnavailable
from gateway.redis_cluster import Cluster
from gateway.redis_node import FULL, Road
from gateway.redis_reach import Reach
from gateway.redis_replies import elements, integer, mapping, optional, pair, text
from gateway.redis_slots import SCHEMES
from gateway.supervisor import Supervisor
from gateway.waiting import Command

PAGE = 500
"""Elements asked for in one step of a scan: a few milliseconds of parsing at most."""
_CLAIM = (
    "local v = redis.call('GET', KEYS[1]) if v then return v end "
    "v = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) "
    "return v.err and redis.error_reply((string.match(v.err, '%u%u%u+') or 'ERR') .. ' no claim')"
)
"""SET with NX and GET would do it, from Redis 7. Redis 6 hides an error's code within a script's own words."""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"
OnCall = Callable[[str, float, bool], None]
"""Told of every call that was waited for to its end: operation, seconds, whether it failed."""
_OPERATIONS = {"GET": "get", "SET": "put", "UNLINK": "delete", "XADD": "append", "XRANGE": "read"}


def _ignore(operation: str, seconds: float, has_failed: bool, /) -> None: ...


class RedisStore:
    """Bytes with expiry, hashes and streams in Redis; see gateway.lane for what a slow or absent server does.

    `url` is redis://, rediss:// (TLS) or unix://, of a Cluster cluster:// or clusters:// (TLS), which may name several
    servers. No call waits longer than `timeout_s` before StoreUnavailable.
    Connects on first use, in the loop that runs then; raises ValueError where the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        supervisor: Supervisor,
        timeout_s: float = 0.05,
        probe_interval_s: float = 0.25,
        on_transition: Callable[[Transition], None] | None = None,
        on_call: OnCall = _ignore,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._on_call = on_call
        reach = Reach(
            supervisor=supervisor,
            timeout_s=timeout_s,
            probe_interval_s=probe_interval_s,
            on_transition=on_transition,
        )
        is_cluster = url.partition("://")[0] in SCHEMES
        self._road: Road = Cluster(url, reach) if is_cluster else reach.node(url)

    @classmethod
    def from_settings(
        cls,
        url: str,
        *,
        clock: Clock,
        supervisor: Supervisor,
        max_bytes: int,  # noqa: ARG003 - Redis keeps its own memory
        timeout_s: float,
        on_transition: Callable[[Transition], None] | None = None,
    ) -> Self:
        """Return a store as the table of stores makes them."""
        return cls(url, supervisor=supervisor, timeout_s=timeout_s, on_transition=on_transition, clock=clock)

    @property
    def state(self) -> Standing:
        """Return "down" from the first failure until a probe has succeeded, "full" while it has no room for writes.

        Of a Cluster, the worst of its servers' states."""
        return self._road.state

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None where there is none or it has expired. Raises StoreUnavailable."""
        return optional(await self._ask("GET", key))

    async def get_or_claim(self, key: str, token: bytes, *, ttl_s: float) -> bytes | None:
        """Return the value, another's token too; where there is none put `token` there and return None: one command.

        A server without room for the token still reads: None then too, since there is nobody to wait for.
        Raises StoreUnavailable, after which the token may be there."""
        command: Command = ("EVAL", _CLAIM, 1, key, token, max(1, round(ttl_s * 1000)))
        (reply,) = await self._replies((command,), self._road, "get")
        if isinstance(reply, Refused) and reply.code in FULL:
            return None
        return optional(_accepted(command, reply))

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store for `ttl_s` seconds, replacing; 0 or less only deletes. Raises StoreUnavailable."""
        await self._ask(*_put(key, value, ttl_s))

    def put_soon(self, key: str, value: bytes, *, ttl_s: float, token: bytes = b"") -> None:
        """Store without waiting, in order with other calls; lost where the server is away or refuses.

        Where it refuses, `token` goes, if `key` holds that."""
        self._post(_put(key, value, ttl_s), refused=_release(key, token) if token else None)

    def post(self, command: Command) -> None:
        """Send a command without waiting, in order with other calls; lost where the server is away or refuses."""
        self._post(command)

    async def claim(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Put unless there is a value; return whether it was put. Raises StoreUnavailable, after which it may be."""
        return await self._ask(*_claim(key, value, ttl_s)) is not None

    async def release(self, key: str, value: bytes) -> bool:
        """Delete `key` if it holds `value`, atomically; return whether it did. Raises StoreUnavailable."""
        return integer(await self._ask(*_release(key, value))) == 1

    def release_soon(self, key: str, value: bytes) -> None:
        """Delete `key` if it holds `value`, without waiting, in order with other calls."""
        self._post(_release(key, value))

    async def delete(self, keys: Sequence[str]) -> int:
        """Delete and return how many existed. Raises StoreUnavailable."""
        return sum(integer(reply) for reply in await self._ask_all([("UNLINK", key) for key in keys]))

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None:
        """Append in one round trip; the stream keeps `max_entries` and up to a node (about 100) more.

        Raises StoreUnavailable, after which some may be in the stream."""
        commands: list[Command] = [("XADD", stream, "*", "d", entry) for entry in entries[:-1]]
        commands += [("XADD", stream, "MAXLEN", "~", max_entries, "*", "d", entry) for entry in entries[-1:]]
        await self._ask_all(commands)

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return up to `limit` entries (id, bytes) with ids after `after`, oldest first. Raises StoreUnavailable.

        An id is `{Unix milliseconds}-{number}`; "0-0" reads from the start."""
        reply = await self._ask("XRANGE", stream, f"({after}", "+", "COUNT", limit)
        return [(text(entry_id), mapping(fields)[b"d"]) for entry_id, fields in map(pair, elements(reply))]

    async def hash_get(self, key: str, field: str) -> bytes | None:
        """Return one field of a hash, None where there is none. Raises StoreUnavailable."""
        return optional(await self._ask("HGET", key, field))

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool:
        """Set one field of a hash, atomically, and return whether it was written (`only_new`: unless it was there).

        Raises StoreUnavailable, after which the field may be written."""
        if only_new:
            return integer(await self._ask("HSETNX", key, field, value)) == 1
        await self._ask("HSET", key, field, value)
        return True

    async def hash_set_all(self, key: str, fields: Mapping[str, bytes]) -> None:
        """Set several fields of a hash in one round trip. Raises StoreUnavailable, after which they may be written."""
        if fields:
            await self._ask("HSET", key, *(part for field in fields.items() for part in field))

    async def hash_all(self, key: str) -> Mapping[str, bytes]:
        """Return a whole hash, read in pages so that a big one stalls nobody. Raises StoreUnavailable."""
        found: dict[str, bytes] = {}
        cursor = "0"
        while True:
            after, found_now = pair(await self._ask("HSCAN", key, cursor, "COUNT", PAGE))
            found.update((text(field), value) for field, value in mapping(found_now).items())
            cursor = text(after)
            if cursor == "0":
                return found

    async def hash_delete(self, key: str, field: str) -> bool:
        """Delete one field of a hash and return whether it was there. Raises StoreUnavailable."""
        return integer(await self._ask("HDEL", key, field)) == 1

    async def scan(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of all keys that begin with `prefix`; one may come twice. Raises StoreUnavailable."""
        pattern = "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in prefix) + "*"
        for node in await self._road.each():
            cursor = "0"
            while True:
                after, names = pair(await self._scan_page(node, cursor, pattern))
                for name in elements(names):
                    yield text(name)
                cursor = text(after)
                if cursor == "0":
                    break

    async def run(self, *commands: Command) -> list[object]:
        """Send commands in one round trip and return their replies in order (see gateway.redis_replies).

        For parts that own a data structure in Redis (scripts, sets, streams). Each command names keys of one slot.
        Raises StoreUnavailable where the server is away or refused one of them; the others may have been done."""
        return await self._ask_all(commands)

    async def close(self) -> None:
        """Drop the connection; whoever waits gets StoreUnavailable. Idempotent."""
        await self._road.close()

    async def _scan_page(self, node: Road, cursor: str, pattern: str) -> object:
        return (await self._ask_all((("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE),), node))[0]

    async def _ask(self, *command: str | bytes | int) -> object:
        return (await self._ask_all((command,)))[0]

    async def _ask_all(self, commands: Sequence[Command], road: Road | None = None) -> list[object]:
        if not commands:
            return []
        replies = await self._replies(commands, road or self._road)
        return [_accepted(command, reply) for command, reply in zip(commands, replies, strict=True)]

    async def _replies(self, commands: Sequence[Command], road: Road, operation: str = "") -> Sequence[object]:
        operation = operation or _operation(commands[-1])
        started_s = self._clock.monotonic()  # uvloop's own time stands still for a millisecond
        try:
            replies = await road.ask(*commands)
        except StoreUnavailable:
            self._note(operation, started_s, None)
            raise
        self._note(operation, started_s, replies)
        return replies

    def _post(self, command: Command, *, refused: Command | None = None) -> None:
        """Send without waiting, and then `refused` where the server said no."""
        operation, started_s = _operation(command), self._clock.monotonic()

        def told(replies: Sequence[object] | None) -> None:
            if self._note(operation, started_s, replies) and replies is not None and refused is not None:
                self._post(refused)

        self._road.post(command, told=told)

    def _note(self, operation: str, started_s: float, replies: Sequence[object] | None) -> bool:
        """Tell of a call, and return whether it failed."""
        has_failed = replies is None
        for reply in replies or ():
            has_failed = has_failed or isinstance(reply, Refused)
        self._on_call(operation, self._clock.monotonic() - started_s, has_failed)
        return has_failed


def _operation(command: Command) -> str:
    return _OPERATIONS.get(str(command[0]), "other")


def _put(key: str, value: bytes, ttl_s: float) -> Command:
    return ("UNLINK", key) if ttl_s <= 0 else ("SET", key, value, "PX", max(1, round(ttl_s * 1000)))


def _release(key: str, value: bytes) -> Command:
    return ("EVAL", _RELEASE, 1, key, value)


def _claim(key: str, value: bytes, ttl_s: float) -> Command:
    return ("SET", key, value, "NX", "PX", max(1, round(ttl_s * 1000)))


def _accepted(command: Command, reply: object) -> object:
    if isinstance(reply, Refused):
        hint = " (it is a Cluster's server: the URL must begin with cluster://)" if reply.code == "MOVED" else ""
        raise StoreUnavailable(f"redis refused {command[0]!s}: {reply.code}{hint}")
    return reply
