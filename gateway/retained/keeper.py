"""Keeps requests beside their answers: one more command in the batch that stores the answer, bounded per tenant.

Costs nothing where warming is off. Nobody waits for it: what cannot be kept is only not warmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from gateway.cache.codec import StoredAnswer
from gateway.part import Part
from gateway.ports import Clock
from gateway.retained.bound import size_for
from gateway.retained.keepable import may_keep
from gateway.retained.kept import Kept, due_key, encode, kept_key, sizes_key
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.trail import Ask, Trail
from gateway.waiting import Command

SHARE: Final = 8
"""One request may take at most this part of what its tenant's may take together."""

SCRIPT: Final = """
local due, sizes, value, ttl, most, now = KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local function drop(key)
  local size = redis.call('HGET', sizes, key)
  if size then
    redis.call('HINCRBY', sizes, '', '-' .. size)
    redis.call('HDEL', sizes, key)
  end
  redis.call('ZREM', due, key)
  redis.call('UNLINK', key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 32)) do drop(key) end
drop(KEYS[1])
local held = tonumber(redis.call('HGET', sizes, '') or '0')
while held + #value > most do
  local first = redis.call('ZRANGE', due, 0, 0)[1]
  if not first then break end
  drop(first)
  held = tonumber(redis.call('HGET', sizes, '') or '0')
end
redis.call('SET', KEYS[1], value, 'PX', ttl)
redis.call('ZADD', due, string.format('%.0f', tonumber(now) + ttl), KEYS[1])
redis.call('HSET', sizes, KEYS[1], #value)
redis.call('HINCRBY', sizes, '', #value)
for _, key in ipairs({due, sizes}) do
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
end
return held + #value
""".strip()
"""What goes first where there is no room is what would expire first. All keys are of one tenant, so of one slot."""


class Posts(Protocol):
    """Sends a command soon, in order with what was stored before; lost where the server is away."""

    def post(self, command: Command) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """`posts` None: there is nowhere to keep anything. `most_bytes` bounds what one tenant's requests take."""

    posts: Posts | None
    clock: Clock
    most_bytes: int

    def keep(self, ask: Ask, trail: Trail, answer: StoredAnswer, *, key: str) -> None:
        """Keep the request of an answer that has just been stored under `key`, where it may be."""
        if self.posts is None or trail.policy is None or trail.policy.warming is None or not may_keep(ask, trail):
            return
        size = size_for(ask.request, trail)
        part = Part(
            key=key,
            model=answer.routed_model,
            usage=answer.usage,
            most_input=size.input if size is not None else 0,
            most_output=size.output if size is not None else None,
        )
        allowed = ask.caller.allowed_models
        kept = Kept(
            kind="chat",
            body=ask.request.body,
            dialect=ask.request.dialect,
            tenant=ask.caller.tenant,
            key_id=ask.caller.key_id,
            allowed_models=None if allowed is None else tuple(sorted(allowed)),
            session=trail.facts.session,
            tags=answer.tags,
            namespace=ask.cache_control.namespace,
            parts=(part,),
            wait_s=ask.warming.wait_s if ask.warming is not None else self.clock.monotonic() - ask.received_s,
            ttl_s=answer.ttl_s,
            cost_nanousd=answer.cost_nanousd or 0,
            routed_model=answer.routed_model,
            route=answer.route,
            epoch=answer.epoch,
            transcript=answer.transcript,
        )
        self.write(key, kept, ttl_s=answer.ttl_s + answer.stale_s)

    def write(self, key: str, kept: Kept, *, ttl_s: float) -> None:
        """Keep a request for `ttl_s` seconds; one that is too large for its tenant's share is not kept."""
        value = encode(kept)
        if self.posts is None or len(value) > self.most_bytes // SHARE or ttl_s <= 0:
            return
        now_ms, tenant = round(self.clock.now() * 1000), kept.tenant
        names = (kept_key(key, tenant=tenant), due_key(tenant), sizes_key(tenant))
        self.posts.post(("EVAL", SCRIPT, 3, *names, value, max(1, round(ttl_s * 1000)), self.most_bytes, now_ms))


def keeper_of(store: RedisStore | MemoryStore, clock: Clock, *, most_bytes: int) -> Keeper:
    """Return what keeps requests beside the answers of `store`; without Redis it keeps none."""
    return Keeper(posts=store if isinstance(store, RedisStore) else None, clock=clock, most_bytes=most_bytes)
