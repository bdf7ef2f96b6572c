"""Reads the ledger back: segment files first, then what the stream has beyond them; each outcome once.

For commands, not for requests. Must not write.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.archive import CATALOGUES, POLICIES, PolicyText, policy_texts
from gateway.history.roller import FOLDER, KINDS, RollerStore
from gateway.history.segments import START, id_key, read_segments, read_texts
from gateway.ledger import STREAM, UnknownEntry, decode
from gateway.outcome import Outcome
from policies.decision import catalogue_of
from policies.model import Catalogue

PAGE: Final = 1000
REMEMBERED: Final = 100_000
"""A repeated append stands close to the first: so many outcomes are looked back for a repetition."""

_Name = tuple[str, str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What entries name by version."""

    policies: Mapping[str, PolicyText]
    catalogues: Mapping[str, Catalogue]


class _Once:
    """Remembers the last outcomes. A client may use a request id again: the time it came in tells them apart."""

    def __init__(self) -> None:
        self._seen: OrderedDict[_Name, None] = OrderedDict()

    def is_new(self, outcome: Outcome) -> bool:
        name = (outcome.tenant, outcome.request_id, outcome.started_at)
        if name in self._seen:
            return False
        self._seen[name] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True


async def read_history(
    store: RollerStore | None, data_dir: Path, *, since_s: float = 0.0, stream: str = STREAM
) -> AsyncIterator[Outcome]:
    """Yield outcomes that were written at or after `since_s` (Unix seconds), oldest first, each once.

    Entries that this version cannot read are left out. `store` None reads the files alone. Raises StoreUnavailable.
    """
    once, last, since_ms = _Once(), START, max(0, int(since_s * 1000))
    lines = read_segments(data_dir / FOLDER, since_ms=since_ms)
    while page := await asyncio.to_thread(_page, lines):
        last = page[-1][0]
        for outcome in _decoded(page):
            if once.is_new(outcome):
                yield outcome
    after = max(last, f"{max(0, since_ms - 1)}-{2**63}", key=id_key)
    while store is not None and (found := await store.read(stream, after=after, limit=PAGE)):
        after = found[-1][0]
        for outcome in _decoded(found):
            if once.is_new(outcome):
                yield outcome


async def read_versions(store: RollerStore | None, data_dir: Path) -> Texts:
    """Return the policy texts and catalogues that entries name. Raises StoreUnavailable."""
    found: dict[str, dict[str, bytes]] = {}
    for key, kind in KINDS.items():
        found[key] = await asyncio.to_thread(read_texts, data_dir / FOLDER, kind)
        if store is not None:
            found[key].update(await store.hash_all(key))
    catalogues: dict[str, Catalogue] = {}
    for version, text in found[CATALOGUES].items():
        try:
            catalogues[version] = catalogue_of(text)
        except ValueError:
            continue
    return Texts(policies=policy_texts(found[POLICIES]), catalogues=catalogues)


def _page(lines: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [line for _, line in zip(range(PAGE), lines, strict=False)]


def _decoded(page: Sequence[tuple[str, bytes]]) -> Iterator[Outcome]:
    for _, entry in page:
        try:
            yield decode(entry)
        except UnknownEntry:
            continue
