"""The one Lua script over budgets and limits, its arguments and its replies.

State, all under one hash tag, none of it with a TTL (a `volatile-*` eviction must not touch it):
`…:leases` hash, lease id -> "applied:fence|meter key=amount|…": the last operation applied (-1: the lease was gone when
somebody looked), and the number that a later arrival must be above; `…:due` sorted set, lease id -> Unix ms when it
expires;
`…:meters` sorted set, meter key -> Unix ms when it may be deleted; each meter a hash {s: spent, r: reserved}.
Integers throughout: Lua's numbers are exact up to 2**53. Invariant: s + r <= limit, unless a caller forced it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.budgets.meters import KEPT_S, Meter
from gateway.ports import StoreUnavailable
from gateway.redis_replies import elements, integer
from gateway.waiting import Command

SPARE_SHARE: Final = 16
"""A lease may hold at most this part of what is free beyond what it needs, so that slack vanishes near the limit."""

SCRIPT: Final = """
local op, lease, seq, due = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local n = #KEYS - 3
-- Redis takes no '-0'.
local function whole(x) return string.format('%.0f', x + 0) end
local held, applied, fence = {}, 0, 0
local record = redis.call('HGET', KEYS[1], lease)
if record then
  local at = 0
  for part in string.gmatch(record, '[^|]+') do
    if at == 0 then
      local a, f = string.match(part, '^(-?%d+):(%d+)$')
      applied, fence = tonumber(a), tonumber(f)
    else held[at] = tonumber(string.match(part, '=(-?%d+)$'))
    end
    at = at + 1
  end
end
local function free(i, limit)
  local shown = redis.call('HMGET', KEYS[3 + i], 's', 'r')
  return limit - (tonumber(shown[1]) or 0) - (tonumber(shown[2]) or 0)
end
local function keep()
  local parts, any = {whole(applied) .. ':' .. whole(seq)}, false
  for i = 1, n do
    parts[i + 1] = KEYS[3 + i] .. '=' .. whole(held[i])
    if held[i] ~= 0 then any = true end
  end
  if any or op ~= 'draw' then
    redis.call('HSET', KEYS[1], lease, table.concat(parts, '|'))
    redis.call('ZADD', KEYS[2], due, lease)
  else
    redis.call('HDEL', KEYS[1], lease)
    redis.call('ZREM', KEYS[2], lease)
  end
end
local reply = {}
if op == 'look' then
  if record and fence >= seq then return {2} end
  if not record then
    applied = -1
    for i = 1, n do held[i] = 0 end
  end
  keep()
  if applied < 0 then return {-1} end
  reply[1], reply[2] = 1, applied
  for i = 1, n do reply[2 + i] = whole(held[i]) end
  return reply
end
if record and op ~= 'expire' and (fence >= seq or applied < 0) then return {2} end
if op == 'grow' then
  if not record and ARGV[6] == '1' then return {-1} end
  local force = ARGV[5] == '1'
  local given, room = {}, {}
  for i = 1, n do
    local at = 6 + (i - 1) * 4
    local need, want, limit = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    room[i] = free(i, limit)
    if need > room[i] and not force then return {0, i, whole(room[i])} end
    local spare = math.max(0, math.min(want - need, math.floor((room[i] - need) / SPARE)))
    given[i] = need + spare
  end
  for i = 1, n do
    local meter = KEYS[3 + i]
    if redis.call('HINCRBY', meter, 'r', whole(given[i])) == given[i] then
      redis.call('ZADD', KEYS[3], ARGV[6 + i * 4], meter)
    end
    held[i] = (held[i] or 0) + given[i]
    reply[1 + i] = whole(held[i])
    reply[1 + n + i] = whole(room[i] - given[i])
  end
  applied = seq
  keep()
  reply[1] = 1
  return reply
end
if not record then return {-1} end
if op == 'expire' then
  local score = redis.call('ZSCORE', KEYS[2], lease)
  if score and tonumber(score) > tonumber(due) then return {0} end
  for i = 1, n do
    redis.call('HINCRBY', KEYS[3 + i], 'r', whole(-held[i]))
    redis.call('HINCRBY', KEYS[3 + i], 's', whole(held[i]))
    reply[1 + i] = whole(held[i])
  end
  redis.call('HDEL', KEYS[1], lease)
  redis.call('ZREM', KEYS[2], lease)
  reply[1] = 1
  return reply
end
for i = 1, n do
  local at = 4 + (i - 1) * 3
  local released, actual, limit = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  redis.call('HINCRBY', KEYS[3 + i], 'r', whole(-released))
  redis.call('HINCRBY', KEYS[3 + i], 's', whole(actual))
  held[i] = held[i] - released
  reply[1 + i] = whole(held[i])
  reply[1 + n + i] = whole(free(i, limit))
end
applied = seq
keep()
reply[1] = 1
return reply
""".replace("SPARE", str(SPARE_SHARE)).strip()

SHA1: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""What EVALSHA calls the script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the lease holds after an operation, and what nobody holds (`free`), by meter."""

    amounts: tuple[int, ...]
    free: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Meter number `at` has only `free` left: nothing changed."""

    at: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What Redis knows of a lease: the last operation applied, and its amounts."""

    seq: int
    amounts: tuple[int, ...]


class OutOfOrder(StoreUnavailable):
    """An operation was overtaken by a later one: what Redis knows must be looked up."""


def keys(policy_tag: str, meters: Sequence[str]) -> tuple[str, ...]:
    """Return the script's keys: the three of the policy, then the meters."""
    return (f"foreword:{policy_tag}:leases", f"foreword:{policy_tag}:due", f"foreword:{policy_tag}:meters", *meters)


def grow(
    policy_tag: str,
    meters: Sequence[Meter],
    *,
    lease: str,
    seq: int,
    due_ms: int,
    needs: Sequence[int],
    wants: Sequence[int],
    force: bool = False,
    is_begun: bool = False,
) -> Command:
    """Take `needs` more of every meter into the lease, up to `wants` where there is room; all meters or none.

    `is_begun`: the lease holds something already; where it is gone, it was charged, and nothing is taken."""
    arguments: list[str | int] = ["grow", lease, seq, due_ms, int(force), int(is_begun)]
    for meter, need, want in zip(meters, needs, wants, strict=True):
        arguments += [need, want, meter.limit, int((meter.ends_at + KEPT_S) * 1000)]
    return _call(policy_tag, [meter.key for meter in meters], arguments)


def draw(
    policy_tag: str,
    meters: Sequence[Meter],
    *,
    lease: str,
    seq: int,
    due_ms: int,
    released: Sequence[int],
    spent: Sequence[int],
) -> Command:
    """Take `released` out of the lease and add `spent` to what the meters show; the lease lives until `due_ms`."""
    arguments: list[str | int] = ["draw", lease, seq, due_ms]
    for meter, let_go, cost in zip(meters, released, spent, strict=True):
        arguments += [let_go, cost, meter.limit]
    return _call(policy_tag, [meter.key for meter in meters], arguments)


def look(policy_tag: str, meters: Sequence[Meter], *, lease: str, seq: int, due_ms: int) -> Command:
    """Ask what Redis knows of a lease, after a reply was lost; an operation below `seq` that is late is refused."""
    return _call(policy_tag, [meter.key for meter in meters], ["look", lease, seq, due_ms])


def whole_text(command: Command) -> Command:
    """Return the same call with the script's text, for a Redis that does not have it; it keeps the text."""
    return ("EVAL", SCRIPT, *command[2:])


def expire(policy_tag: str, meter_keys: Sequence[str], *, lease: str, now_ms: int) -> Command:
    """Charge a lease that was due before `now_ms` in full, and end it."""
    return _call(policy_tag, meter_keys, ["expire", lease, 0, now_ms])


def record_meters(record: str) -> tuple[str, ...]:
    """Return the meter keys in a lease's record."""
    return tuple(part.rpartition("=")[0] for part in record.split("|")[1:])


def share(reply: object) -> Share | Full | None:
    """Read the reply to `grow` or `draw`; None where the lease is gone. Raises OutOfOrder, StoreUnavailable."""
    code, *rest = elements(reply)
    if integer(code) == -1:
        return None
    if integer(code) == 0:
        return Full(at=integer(rest[0]) - 1, free=_whole(rest[1]))
    if integer(code) != 1:
        raise OutOfOrder("a later budget operation was applied first")
    figures = [_whole(figure) for figure in rest]
    half = len(figures) // 2
    return Share(amounts=tuple(figures[:half]), free=tuple(figures[half:]))


def charged(reply: object) -> tuple[int, ...]:
    """Read the reply to `expire`: what was charged, by meter; nothing where the lease is gone or not due."""
    code, *rest = elements(reply)
    return tuple(_whole(figure) for figure in rest) if integer(code) == 1 else ()


def held(reply: object) -> Held | None:
    """Read the reply to `look`; None where there is no such lease."""
    code, *rest = elements(reply)
    if integer(code) == -1:
        return None
    return Held(seq=integer(rest[0]), amounts=tuple(_whole(figure) for figure in rest[1:]))


def _call(policy_tag: str, meter_keys: Sequence[str], arguments: Sequence[str | int]) -> Command:
    named = keys(policy_tag, meter_keys)
    return ("EVALSHA", SHA1, len(named), *named, *arguments)


def _whole(figure: object) -> int:
    try:
        return int(figure) if isinstance(figure, (bytes, int)) else int(str(figure))
    except ValueError as error:
        raise StoreUnavailable("redis answered the budget script with something that is no number") from error
