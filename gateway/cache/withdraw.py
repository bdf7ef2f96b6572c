"""Answers that have to go: which ones, found and deleted in the store, and how every worker hears of it.

A withdrawal is an entry of a small stream; its id is the epoch that workers acknowledge. Must not log, nor
decide who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from gateway.cache.codec import StoredAnswer, decode
from gateway.cache.exact import ExactCache
from gateway.ports import Clock, StoreUnavailable

PREFIX: Final = "foreword:cache:{"
STREAM: Final = "foreword:withdrawals"
WORKERS: Final = "foreword:withdrawals:workers"
LISTEN_S: Final = 0.3
LIVE_S: Final = 5.0
"""A worker that has said nothing for so long is gone; one that lives speaks every `LISTEN_S`."""
FORGOTTEN_S: Final = 3600.0
WAIT_S: Final = 3.0
START: Final = "0-0"
MOST_NOTICES: Final = 1000
_AT_ONCE: Final = 64


class Findable(Protocol):
    """What an answer, or the request that is kept beside it, can be found by."""

    @property
    def tenant(self) -> str: ...

    @property
    def routed_model(self) -> str: ...

    @property
    def route(self) -> str: ...

    @property
    def epoch(self) -> int: ...

    @property
    def tags(self) -> tuple[str, ...]: ...

    @property
    def transcript(self) -> str: ...


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which answers: everything given must hold. `id` is an answer's key or its beginning, `transcript` a SHA-256.

    `scope` is a semantic scope: answers that a question of it leads to.
    """

    id: str | None = None
    tenant: str | None = None
    model: str | None = None
    route: str | None = None
    epoch: int | None = None
    tag: str | None = None
    transcript: str | None = None
    scope: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said, which would be everything."""
        return all(getattr(self, name) is None for name in self.__struct_fields__)

    def holds(self, key: str, answer: Findable, *, in_scope: frozenset[str]) -> bool:
        """Whether the answer is meant; `in_scope` are the keys that questions of `scope` lead to."""
        return (
            (self.id is None or (len(self.id) >= MIN_ID and key.startswith(self.id)))
            and (self.tenant is None or answer.tenant == self.tenant)
            and (self.model is None or answer.routed_model == self.model)
            and (self.route is None or answer.route == self.route)
            and (self.epoch is None or answer.epoch == self.epoch)
            and (self.tag is None or self.tag in answer.tags)
            and (self.transcript is None or answer.transcript == self.transcript)
            and (self.scope is None or key in in_scope)
        )


MIN_ID: Final = 8


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One withdrawal as workers hear of it; `by` is who did it."""

    selection: Selection
    by: str
    in_scope: tuple[str, ...] = ()


class Values(Protocol):
    """The part of a store that finding and deleting needs. All raise StoreUnavailable."""

    async def get(self, key: str) -> bytes | None: ...

    async def delete(self, keys: Sequence[str]) -> int: ...

    def scan(self, prefix: str) -> AsyncIterator[str]: ...

    async def append(self, stream: str, entries: Sequence[bytes], *, max_entries: int) -> None: ...

    async def read(self, stream: str, *, after: str, limit: int) -> Sequence[tuple[str, bytes]]: ...

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool: ...

    async def hash_all(self, key: str) -> Mapping[str, bytes]: ...

    async def hash_delete(self, key: str, field: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAnswer:
    """A stored answer; `name` is the store's key, `key` the answer's own."""

    name: str
    key: str
    tenant: str
    answer: StoredAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Which live workers have acknowledged a withdrawal, and which have not within the time."""

    acknowledged: tuple[str, ...]
    silent: tuple[str, ...]


async def answers(store: Values, *, tenant: str | None = None) -> AsyncIterator[FoundAnswer]:
    """Yield every stored answer, of one tenant or of all. Raises StoreUnavailable."""
    names: list[str] = []
    async for name in store.scan(PREFIX if tenant is None else f"{PREFIX}{tenant}}}:"):
        names.append(name)
        if len(names) == _AT_ONCE:
            for found in await _read(store, names):
                yield found
            names.clear()
    for found in await _read(store, names):
        yield found


async def _read(store: Values, names: Sequence[str]) -> list[FoundAnswer]:
    values = await asyncio.gather(*(store.get(name) for name in names))
    found = []
    for name, value in zip(names, values, strict=True):
        answer = decode(value) if value is not None else None
        if answer is not None:
            tenant, _, key = name.removeprefix(PREFIX).partition("}:")
            found.append(FoundAnswer(name=name, key=key, tenant=tenant, answer=answer))
    return found


async def tell(store: Values, notice: Notice, *, clock: Clock, wait_s: float = WAIT_S) -> Heard:
    """Tell every worker and return once all that live have acknowledged, or after `wait_s`. Raises StoreUnavailable."""
    await store.append(STREAM, [msgspec.json.encode(notice)], max_entries=MOST_NOTICES)
    epoch = START
    while page := await store.read(STREAM, after=epoch, limit=MOST_NOTICES):
        epoch = page[-1][0]
    until_s = clock.monotonic() + wait_s
    while True:
        heard = await _heard(store, epoch, now=clock.now())
        if not heard.silent or clock.monotonic() >= until_s:
            return heard
        await clock.sleep(LISTEN_S / 4)


async def _heard(store: Values, epoch: str, *, now: float) -> Heard:
    acknowledged: list[str] = []
    silent: list[str] = []
    for worker, said in (await store.hash_all(WORKERS)).items():
        at_s, _, place = said.decode().partition(" ")
        if now - float(at_s) > FORGOTTEN_S:
            await store.hash_delete(WORKERS, worker)
        if now - float(at_s) <= LIVE_S:
            (acknowledged if _order(place) >= _order(epoch) else silent).append(worker)
    return Heard(acknowledged=tuple(sorted(acknowledged)), silent=tuple(sorted(silent)))


class Listener:
    """One worker's ear: drops from memory what others withdraw, and says how far it has heard."""

    def __init__(self, store: Values, exact: ExactCache, *, worker: str, clock: Clock) -> None:
        self._store = store
        self._exact = exact
        self._worker = worker
        self._clock = clock
        self._has_left = False
        self._place = START  # what was withdrawn before is dropped once more, from a memory that is still empty

    async def listen(self) -> Sequence[tuple[Notice, int]]:
        """Hear once: return each withdrawal with how many answers it took from this memory. Without the store, none."""
        heard: list[tuple[Notice, int]] = []
        try:
            for entry_id, data in await self._store.read(STREAM, after=self._place, limit=MOST_NOTICES):
                notice = _notice(data)
                if notice is not None:
                    heard.append((notice, self._obey(notice)))
                self._place = entry_id
            if self._has_left:  # else it would be waited for
                return heard
            said = f"{self._clock.now():.3f} {self._place}".encode()
            await self._store.hash_set(WORKERS, self._worker, said)
        except StoreUnavailable:
            return heard
        self._exact.heard()
        return heard

    async def leave(self) -> None:
        """Say that this worker is gone, so that nobody waits for it; what it hears from now on it does not say."""
        self._has_left = True
        try:
            await self._store.hash_delete(WORKERS, self._worker)
        except StoreUnavailable:
            return

    def _obey(self, notice: Notice) -> int:
        in_scope, selection = frozenset(notice.in_scope), notice.selection
        return self._exact.forget(lambda key, answer: selection.holds(key, answer, in_scope=in_scope))


def _notice(data: bytes) -> Notice | None:
    try:
        return msgspec.json.decode(data, type=Notice)
    except msgspec.DecodeError:
        return None  # another version's


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
