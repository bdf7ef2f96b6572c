"""Entries as Redis holds them, the record that every index is filled from: keys, bytes, and the commands.

Knows no vector search. All keys of a scope carry one hash tag, so they lie in one slot; all expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import quote

import msgspec
import numpy as np

from gateway.cache.semantic.types import Entry
from gateway.redis_replies import elements, optional, text
from gateway.waiting import Command

PREFIX: Final = "foreword:semantic"
PAGE: Final = 16
"""Entries read in one round trip: about 30 KB, parsed and taken in within half a millisecond."""
_ADD: Final = """
local count = (#ARGV - 2) / 3
for i = 1, count do
  redis.call('SET', KEYS[i + 1], ARGV[3 * i + 1], 'PXAT', ARGV[3 * i + 2])
  redis.call('ZADD', KEYS[1], ARGV[3 * i + 2], ARGV[3 * i])
end
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], last)
for i = count + 2, #KEYS do redis.call('PEXPIREAT', KEYS[i], last) end
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 64)
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2])
if #gone == 0 and over > 0 then return redis.call('ZRANGE', KEYS[1], 0, over - 1) end
return gone
"""
"""Write entries of one scope, list them by their ends, let what belongs to the scope live as long as its last entry,
and name what has ended or is too many."""
Scope = tuple[str, str]
"""Tenant and scope."""


class Commands(Protocol):
    """The part of RedisStore that indexes use."""

    async def run(self, *commands: Command) -> list[object]:
        """Send commands in one round trip. Raises StoreUnavailable."""
        ...


class _Record(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    answer_id: str
    tenant: str
    scope: str
    text: str
    vector: bytes
    created_at: float
    expires_at: float
    value: float


def base(tenant: str, scope: str) -> str:
    """Return what the names of all keys of a scope begin with; the braces are the Cluster's hash tag."""
    return f"{PREFIX}:{{{quote(tenant, safe='')}:{scope}}}"


def entry_key(tenant: str, scope: str, entry_id: str) -> str:
    """Return the name of an entry's key."""
    return f"{base(tenant, scope)}:entry:{entry_id}"


def encode(entry: Entry) -> bytes:
    """Return the entry as Redis holds it; its id is its key's."""
    record = _Record(
        answer_id=entry.answer_id,
        tenant=entry.tenant,
        scope=entry.scope,
        text=entry.text,
        vector=np.ascontiguousarray(entry.vector, dtype="<f4").tobytes(),
        created_at=entry.created_at,
        expires_at=entry.expires_at,
        value=entry.value,
    )
    return msgspec.msgpack.encode(record)


def decode(entry_id: str, data: bytes) -> Entry | None:
    """Return the entry, None where the bytes are none of ours."""
    try:
        record = msgspec.msgpack.decode(data, type=_Record)
        vector = np.frombuffer(record.vector, "<f4")
    except (msgspec.DecodeError, ValueError):
        return None
    return Entry(
        entry_id=entry_id,
        answer_id=record.answer_id,
        tenant=record.tenant,
        scope=record.scope,
        text=record.text,
        vector=vector,
        created_at=record.created_at,
        expires_at=record.expires_at,
        value=record.value,
    )


def by_scope(entries: Sequence[Entry], *, now: float) -> dict[Scope, list[Entry]]:
    """Return the entries that have not ended by `now` (Unix seconds), by tenant and scope."""
    scopes: dict[Scope, list[Entry]] = {}
    for entry in entries:
        if entry.expires_at > now:
            scopes.setdefault((entry.tenant, entry.scope), []).append(entry)
    return scopes


class Records:
    """The entries of all scopes in Redis; every method raises StoreUnavailable.

    A scope keeps `max_entries`; beyond it, those that would end first go first.
    """

    def __init__(self, store: Commands, *, max_entries: int = 100_000) -> None:
        self._store = store
        self._max_entries = max_entries

    async def put(
        self,
        entries: Sequence[Entry],
        *,
        now: float,
        extra: Sequence[Command] = (),
        beside: Callable[[str, str], str] | None = None,
    ) -> Mapping[Scope, Sequence[str]]:
        """Write entries after running `extra` in the same round trip; return by scope the ids that went or had ended.

        `beside` names a key of each scope that is to live as long as it does. `now` Unix seconds; of entries that have
        ended by then nothing is written, and where all have, nothing is run."""
        scopes = by_scope(entries, now=now)
        if not scopes:
            return {}
        adding = [self._adding(some, now=now, beside=beside) for some in scopes.values()]
        replies = await self._store.run(*extra, *adding)
        over = {}
        for name, reply in zip(scopes, replies[len(extra) :], strict=True):
            over[name] = [text(entry_id) for entry_id in elements(reply)]
            if over[name]:
                await self.remove(*name, over[name])
        return over

    def _adding(self, entries: Sequence[Entry], *, now: float, beside: Callable[[str, str], str] | None) -> Command:
        tenant, scope = entries[0].tenant, entries[0].scope
        start = base(tenant, scope)
        keys = [f"{start}:ids", *(f"{start}:entry:{one.entry_id}" for one in entries)]
        if beside is not None:
            keys.append(beside(tenant, scope))
        written: list[str | bytes | int] = []
        for one in entries:
            written += (one.entry_id, encode(one), _ms(one.expires_at))
        return ("EVAL", _ADD, len(keys), *keys, _ms(now), self._max_entries, *written)

    async def get(self, tenant: str, scope: str, entry_ids: Sequence[str]) -> Sequence[Entry | None]:
        """Return each entry that is still there, in order; None for those that have ended or are not of this scope."""
        if not entry_ids:
            return ()
        (reply,) = await self._store.run(("MGET", *(entry_key(tenant, scope, name) for name in entry_ids)))
        found = []
        for name, value in zip(entry_ids, map(optional, elements(reply)), strict=True):
            entry = decode(name, value) if value is not None else None
            found.append(entry if entry is not None and (entry.tenant, entry.scope) == (tenant, scope) else None)
        return found

    async def ids(self, tenant: str, scope: str, *, now: float, offset: int = 0, limit: int = PAGE) -> Sequence[str]:
        """Return ids of living entries, those that end last first."""
        limits = ("LIMIT", offset, limit)
        command: Command = ("ZREVRANGEBYSCORE", _listing(tenant, scope), "+inf", f"({_ms(now)}", *limits)
        (reply,) = await self._store.run(command)
        return [text(name) for name in elements(reply)]

    async def ended(self, tenant: str, scope: str, *, now: float, limit: int = PAGE) -> Sequence[str]:
        """Return ids of entries that have ended but are still listed."""
        command: Command = ("ZRANGEBYSCORE", _listing(tenant, scope), "-inf", _ms(now), "LIMIT", 0, limit)
        (reply,) = await self._store.run(command)
        return [text(name) for name in elements(reply)]

    async def remove(self, tenant: str, scope: str, entry_ids: Sequence[str], *, extra: Sequence[Command] = ()) -> None:
        """Remove entries and run `extra` in the same round trip; unknown ids are ignored."""
        commands: list[Command] = list(extra)
        if entry_ids:
            commands.append(("UNLINK", *(entry_key(tenant, scope, name) for name in entry_ids)))
            commands.append(("ZREM", _listing(tenant, scope), *entry_ids))
        if commands:
            await self._store.run(*commands)

    async def drop(self, tenant: str, scope: str, *, extra: Sequence[Command] = ()) -> None:
        """Remove a whole scope, page by page, and run `extra` at last."""
        while True:
            (reply,) = await self._store.run(("ZRANGE", _listing(tenant, scope), 0, PAGE - 1))
            names = [text(name) for name in elements(reply)]
            if not names:
                break
            await self.remove(tenant, scope, names)
        if extra:
            await self._store.run(*extra)


def _listing(tenant: str, scope: str) -> str:
    return f"{base(tenant, scope)}:ids"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
