"""Who has answered a session or a transcript lately, so that leaving a warm prefix cache is charged to the others.

A hint with the life of a provider's prefix cache, shared by workers through the store; never binding, and a store that
is away only loses it. Holds no text: sessions and transcripts are hashed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.ports import Clock, Store, StoreUnavailable
from policies.model import Warm
from policies.rules import Sticky

TTL_S: Final = 300.0
"""How long providers keep a prefix without use (OpenAI 5 to 10 minutes, Anthropic 5)."""
LEAST_TOKENS: Final = 1024
"""Providers cache no shorter prefix."""
MOST_ENTRIES: Final = 10_000


class Stickiness:
    """Owner of this worker's hints, bounded; the least recently used go first."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, tuple[Warm, float]] = OrderedDict()

    async def find(self, key: str, *, tenant: str) -> Warm | None:
        """Return who is warm for `key`, from this worker or the store, within the store's bound."""
        here = self._known.get(key)
        if here is not None:
            warm, until_s = here
            return warm if self._clock.monotonic() < until_s else None
        try:
            raw = await self._store.get(_store_key(key, tenant=tenant))
        except StoreUnavailable:
            return None
        if raw is None:
            return None
        tokens, _, group = raw.decode().partition(" ")
        return Warm(group=group, tokens=int(tokens))

    def note(self, key: str, *, tenant: str, group: str, tokens: int) -> None:
        """Remember that `group` has just read `tokens` for `key`; too few are no prefix."""
        if tokens < LEAST_TOKENS:
            return
        self._known[key] = Warm(group=group, tokens=tokens), self._clock.monotonic() + TTL_S
        self._known.move_to_end(key)
        if len(self._known) > MOST_ENTRIES:
            self._known.popitem(last=False)
        self._store.put_soon(_store_key(key, tenant=tenant), f"{tokens} {group}".encode(), ttl_s=TTL_S)


def sticky_key(kind: Sticky, *, session: str, document: Mapping[str, object]) -> str:
    """Return what a request is recognised by, "" where there is nothing: its session, or its longest long text."""
    if kind == "session":
        return "s" + hashlib.sha256(session.encode()).hexdigest()[:32] if session else ""
    if kind == "transcript":
        longest = max(_texts(document), key=len, default="")
        is_long = len(longest) >= LEAST_TOKENS * 2
        return "t" + hashlib.sha256(longest[: LEAST_TOKENS * 8].encode()).hexdigest()[:32] if is_long else ""
    return ""


def _texts(document: Mapping[str, object]) -> Iterator[str]:
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield text


def _store_key(key: str, *, tenant: str) -> str:
    return f"foreword:warm-prefix:{{{tenant}}}:{key}"
