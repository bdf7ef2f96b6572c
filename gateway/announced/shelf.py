"""Announcements in Redis: kept once, found by their tenant alone, and taken by the warmer in the order they are due.

Everything of a tenant is under its hash tag: a hash an announcement, and a sorted set of those that have not ended
(`open`), which bounds them. The one queue of all tenants is a sorted set of its own: it says when to look at what, and
holds no text. Must not ask anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gateway.announced.records import Announcement, Item, ItemStatus, Kept, Posting
from gateway.ports import Clock
from gateway.redis_replies import elements, mapping, text
from gateway.waiting import Command

MAX_OPEN: Final = 32
"""Announcements of one tenant that have not ended."""
LIFE_S: Final = 3600.0
"""How long an announcement lasts beyond the time it is wanted by, unless its answers say otherwise."""
ENDED_LIFE_S: Final = 600.0
"""How long one is kept of which nothing became ready: then the same may be announced again."""
SOON_S: Final = 60.0
DUE: Final = "foreword:announced:due"
_POST: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 'known' end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then return 'full' end
redis.call('HSET', KEYS[1], 'head', ARGV[5], 'items', ARGV[6], 'expires', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
if redis.call('PTTL', KEYS[2]) < ARGV[3] - ARGV[1] then redis.call('PEXPIREAT', KEYS[2], ARGV[3]) end
return 'new'
"""
_ENDED: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'items')
redis.call('HSET', KEYS[1], 'expires', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return 1
"""

_head = msgspec.msgpack.Decoder(Announcement)
_items = msgspec.msgpack.Decoder(tuple[Item, ...])


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


class Shelf:
    """See the module. Every method raises StoreUnavailable. `due` is the queue's key."""

    def __init__(self, store: Runner, clock: Clock, *, due: str = DUE) -> None:
        self._store = store
        self._clock = clock
        self._due = due

    async def post(self, announcement: Announcement) -> Posting:
        """Keep it unless it is known already, and queue it; atomic for the tenant, and safe to repeat."""
        now_ms, tenant, name = int(self._clock.now() * 1000), announcement.tenant, announcement.id
        wanted = announcement.wanted_at
        expires_ms = int((wanted + LIFE_S) * 1000)
        head = msgspec.msgpack.encode(msgspec.structs.replace(announcement, items=()))
        items = msgspec.msgpack.encode(announcement.items)
        keys = (_key(tenant, name), _open(tenant))
        script: Command = ("EVAL", _POST, 2, *keys, now_ms, MAX_OPEN, expires_ms, name, head, items)
        posting = text((await self._store.run(script))[0])
        if posting == "new":
            await self._store.run(("ZADD", self._due, f"{wanted:.3f}", _place(tenant, name)))
            return "new"
        return "full" if posting == "full" else "known"

    async def queue_again(self, announcement: Announcement) -> None:
        """See that a known one is in the queue: whoever posted it may have died before; an earlier time counts."""
        wanted = announcement.wanted_at
        place = _place(announcement.tenant, announcement.id)
        await self._store.run(("ZADD", self._due, "LT", f"{wanted:.3f}", place))

    async def find(self, tenant: str, name: str) -> Kept | None:
        """Return a tenant's announcement, None where there is none or it is over."""
        return _kept((await self._store.run(("HGETALL", _key(tenant, name))))[0])

    async def first(self, limit: int) -> Sequence[tuple[str, str, float]]:
        """Return (tenant, id, when it is wanted) of those wanted first."""
        found = elements((await self._store.run(("ZRANGE", self._due, 0, limit - 1, "WITHSCORES")))[0])
        pairs = zip(map(text, found[::2]), map(text, found[1::2]), strict=True)
        return [(*_tenant_and_name(place), float(score)) for place, score in pairs]

    async def mark(self, tenant: str, name: str, at: int, status: ItemStatus) -> None:
        """Write where an item stands; nothing happens where the announcement is over."""
        script = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"
        field, value = f"item:{at}", msgspec.json.encode(status)
        await self._store.run(("EVAL", script, 1, _key(tenant, name), field, value))

    async def end(self, tenant: str, name: str, statuses: Sequence[ItemStatus]) -> None:
        """Drop the texts, and keep the rest as long as the answers are good; also for one that is over."""
        now = self._clock.now()
        good = [status.good_until for status in statuses if status.good_until]
        until = max(min(good), now + SOON_S) if good else now + ENDED_LIFE_S
        script: Command = ("EVAL", _ENDED, 2, _key(tenant, name), _open(tenant), int(until * 1000), name)
        await self._store.run(script)
        await self._store.run(("ZREM", self._due, _place(tenant, name)))


def prefix(tenant: str) -> str:
    """Return how all keys of a tenant begin."""
    return f"foreword:announced:{{{tenant}}}:"


def _key(tenant: str, name: str) -> str:
    return prefix(tenant) + name


def _open(tenant: str) -> str:
    return prefix(tenant) + "open"


def _place(tenant: str, name: str) -> str:
    return f"{name} {tenant}"


def _tenant_and_name(place: str) -> tuple[str, str]:
    name, _, tenant = place.partition(" ")
    return tenant, name


def _kept(reply: object) -> Kept | None:
    """Return what is stored; what another version stored counts as over."""
    fields: Mapping[bytes, bytes] = mapping(reply)
    try:
        head = _head.decode(fields[b"head"])
        items = _items.decode(fields[b"items"]) if b"items" in fields else ()
        statuses = [_status(fields.get(b"item:%d" % at)) for at in range(head.count)]
        expires_at = int(fields[b"expires"]) / 1000
    except (KeyError, ValueError):
        return None
    return Kept(
        announcement=msgspec.structs.replace(head, items=items), statuses=tuple(statuses), expires_at=expires_at
    )


def _status(stored: bytes | None) -> ItemStatus:
    return ItemStatus() if stored is None else msgspec.json.decode(stored, type=ItemStatus)
