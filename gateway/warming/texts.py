"""What is asked in kept requests, for the history: read once each, in batches, and remembered within a bound.

Reads only tenants whose policy has warming on. Must not hold a body longer than it takes to read it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.cache.semantic.eligibility import asked_text
from gateway.cache.semantic.scope import attachment_hash
from gateway.pipelines.transcript import parse_transcript
from gateway.redis_replies import optional
from gateway.retained.kept import Kept, decode, kept_key
from gateway.warming.leader import Runner
from policies.model import CacheRules

Pair = tuple[str, str]
"""Tenant and key."""
REMEMBERED: Final = 20_000
AT_ONCE: Final = 64
MOST_SPEAKERS: Final = 8
MOST_QUESTION: Final = 2000
_PLAIN: Final = CacheRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a kept request says: its question, the digest of what is attached to it, who speaks in that, most first.

    `cost_nanousd` is what it cost to have it answered."""

    question: str = ""
    attachment: str = ""
    speakers: tuple[str, ...] = ()
    cost_nanousd: int = 0


class Texts:
    """Owner of what was read. `is_wanted` says of a tenant whether its requests are kept at all."""

    def __init__(self, store: Runner, *, is_wanted: Callable[[str], bool]) -> None:
        self._store = store
        self._is_wanted = is_wanted
        self._known: OrderedDict[Pair, Said] = OrderedDict()

    async def of(self, pairs: Collection[Pair]) -> Mapping[Pair, Said]:
        """Return what is known of these requests; one that is not kept is left out. Raises StoreUnavailable."""
        wanted = [pair for pair in dict.fromkeys(pairs) if self._is_wanted(pair[0])]
        missing = [pair for pair in wanted if pair not in self._known]
        for start in range(0, len(missing), AT_ONCE):
            await self._read(missing[start : start + AT_ONCE])
        found = {pair: self._known[pair] for pair in wanted if pair in self._known}
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant."""
        for pair in [pair for pair in self._known if pair[0] == tenant]:
            del self._known[pair]

    async def _read(self, pairs: list[Pair]) -> None:
        replies = await self._store.run(*(("GET", kept_key(key, tenant=tenant)) for tenant, key in pairs))
        # Turns of long transcripts take milliseconds.
        self._known.update(await asyncio.to_thread(_read_all, dict(zip(pairs, map(optional, replies), strict=True))))


def _read_all(values: Mapping[Pair, bytes | None]) -> dict[Pair, Said]:
    return {pair: said_in(kept) for pair, value in values.items() if (kept := decode(value)) is not None}


def said_in(kept: Kept) -> Said:
    """Return what a kept request says; of one that cannot be read, nothing."""
    try:
        document = orjson.loads(kept.body)
    except orjson.JSONDecodeError:
        return Said()
    if kept.kind == "run":
        transcript = document.get("transcript")
        text = transcript if isinstance(transcript, str) else ""
        return Said(attachment=kept.transcript, speakers=speakers_of(text), cost_nanousd=kept.cost_nanousd)
    split = asked_text(document, _PLAIN) if kept.dialect == "chat" else None
    if split is None:
        return Said(cost_nanousd=kept.cost_nanousd)
    return Said(
        question=split.question if len(split.question) <= MOST_QUESTION else "",
        attachment=attachment_hash(split.attachment),
        speakers=speakers_of(split.attachment),
        cost_nanousd=kept.cost_nanousd,
    )


def speakers_of(text: str) -> tuple[str, ...]:
    """Return who speaks in a transcript, most turns first."""
    if not text:
        return ()
    counted = Counter(turn.speaker for turn in parse_transcript(text).turns if turn.speaker)
    return tuple(name for name, _ in counted.most_common(MOST_SPEAKERS))
