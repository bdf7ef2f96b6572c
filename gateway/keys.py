"""Gateway keys: made, listed, revoked, and who stands behind one.

Only the SHA-256 of a key is stored, and a key is shown once. Must not log, and must not let a secret into an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from gateway.ports import Clock, StoreUnavailable

PREFIX = "sk-fw-"
RECORDS = "foreword:keys"
FIRST = "foreword:keys:first"
SHAPE = re.compile(r"sk-fw-[A-Za-z0-9_-]{43}")

T = TypeVar("T")


class Records(Protocol):
    """Hashes that never expire, shared by every worker. All raise StoreUnavailable."""

    async def hash_get(self, key: str, field: str) -> bytes | None: ...

    async def hash_set(self, key: str, field: str, value: bytes, *, only_new: bool = False) -> bool:
        """Write and return whether it was written; `only_new`: unless the field was there, atomically."""
        ...

    async def hash_all(self, key: str) -> Mapping[str, bytes]: ...

    async def hash_delete(self, key: str, field: str) -> bool: ...


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a key. Times are Unix seconds; `models` None means every model."""

    id: str
    name: str
    tenant: str
    models: tuple[str, ...] | None
    created_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a request comes from; `allowed_models` None means every model."""

    tenant: str
    key_id: str
    allowed_models: frozenset[str] | None


def new_secret() -> str:
    """Return a fresh key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A new key: the only value that ever holds its secret."""

    record: KeyRecord
    secret: str = field(repr=False)


class Keys:
    """The gateway's keys, and what this worker has verified of them.

    A verified key is asked about again before `recheck_s` is over, so a revoked one stops within that time; while the
    store is away it works for `grace_s` after it was last verified. At most `max_lookups` ask the store at a moment,
    the others wait their turn: a guessed key costs it one look-up, as a good one does at first, and none again within
    `unknown_ttl_s`. Memory is bounded by `max_known` and `max_unknown` entries.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        recheck_s: float = 1.0,
        grace_s: float = 60.0,
        unknown_ttl_s: float = 5.0,
        max_lookups: int = 64,
        max_known: int = 10_000,
        max_unknown: int = 10_000,
    ) -> None:
        self._records = records
        self._clock = clock
        self._recheck_s = recheck_s
        self._grace_s = grace_s
        self._unknown_ttl_s = unknown_ttl_s
        self._max_known = max_known
        self._max_unknown = max_unknown
        self._known: dict[bytes, _Verified] = {}
        self._unknown: dict[bytes, float] = {}
        self._turns = asyncio.Semaphore(max_lookups)

    async def create(
        self, tenant: str, *, name: str = "", models: Sequence[str] | None = None, secret: str | None = None
    ) -> CreatedKey:
        """Make a key for `tenant`, which may use `models` or, with None, every model; `secret` None draws one.

        Names need not be unique. Raises StoreUnavailable, after which a key may exist whose secret nobody knows.
        """
        secret = secret or new_secret()
        record = KeyRecord(
            id=f"key-{secrets.token_hex(6)}",
            name=name,
            tenant=tenant,
            models=None if models is None else tuple(models),
            created_at=self._clock.now(),
        )
        await self._records.hash_set(RECORDS, _digest(secret).hex(), msgspec.json.encode(record), only_new=True)
        return CreatedKey(record=record, secret=secret)

    async def ensure_first(self) -> CreatedKey | None:
        """Make the data set's first key (tenant "default"), or return None where there is or ever was one.

        Of many processes that start together, one gets the key. Raises StoreUnavailable.
        """
        if await self._records.hash_get(FIRST, "id") is not None or await self._records.hash_all(RECORDS):
            return None
        # The key comes before the claim: whoever dies in between leaves a key that nobody knows, not a data set
        # that can never print one.
        created = await self.create("default", name="first")
        if await self._records.hash_set(FIRST, "id", created.record.id.encode(), only_new=True):
            return created
        await self._records.hash_delete(RECORDS, _digest(created.secret).hex())
        return None

    async def list(self) -> tuple[KeyRecord, ...]:
        """Return all keys, revoked ones too, oldest first. Raises StoreUnavailable."""
        found = [_decoded(raw) for raw in (await self._records.hash_all(RECORDS)).values()]
        return tuple(sorted(found, key=lambda record: (record.created_at, record.id)))

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Revoke for good and return the record; None where no key has that id. Raises StoreUnavailable."""
        for digest, raw in (await self._records.hash_all(RECORDS)).items():
            record = _decoded(raw)
            if record.id != key_id:
                continue
            if record.revoked_at is None:
                record = msgspec.structs.replace(record, revoked_at=self._clock.now())
                await self._records.hash_set(RECORDS, digest, msgspec.json.encode(record))
            for name in [name for name, verified in self._known.items() if verified.caller.key_id == key_id]:
                del self._known[name]
            return record
        return None

    def cached(self, secret: str) -> Caller | None:
        """Return the caller where this worker verified the key a moment ago; None says: ask `identify`."""
        verified = self._known.get(_name(secret))
        if verified is None or self._clock.monotonic() >= verified.due:
            return None
        return verified.caller

    async def identify(self, secret: str) -> Caller | None:
        """Return who holds the key, None where it is unknown, revoked or no key at all.

        Raises StoreUnavailable where the store is away and this worker has not verified the key within the grace.
        """
        if SHAPE.fullmatch(secret) is None:
            return None
        name, now = _name(secret), self._clock.monotonic()
        verified = self._known.get(name)
        if verified is not None:
            return verified.caller if now < verified.due else await self._again(secret, verified, now)
        if now < self._unknown.get(name, 0.0):
            return None
        async with self._turns:
            return await self._first_time(secret)

    async def _first_time(self, secret: str) -> Caller | None:
        """Look a key up unless another request has while this one waited."""
        name, now = _name(secret), self._clock.monotonic()
        verified = self._known.get(name)
        if verified is not None and now < verified.due:
            return verified.caller
        if now < self._unknown.get(name, 0.0):
            return None
        return await self._look_up(secret, now)

    async def _again(self, secret: str, verified: _Verified, now: float) -> Caller | None:
        """Ask about a known key once more. Meanwhile others go on with what is known, for a tenth of `recheck_s`."""
        verified.due = now + self._recheck_s / 10
        try:
            return await self._look_up(secret, now)
        except StoreUnavailable:
            if now < verified.verified_at + self._grace_s:
                return verified.caller
            self._known.pop(_name(secret), None)
            raise

    async def _look_up(self, secret: str, asked_at: float) -> Caller | None:
        name = _name(secret)
        raw = await self._records.hash_get(RECORDS, _digest(secret).hex())
        record = None if raw is None else _decoded(raw)
        if record is None or record.revoked_at is not None:
            self._known.pop(name, None)
            _keep(self._unknown, name, asked_at + self._unknown_ttl_s, self._max_unknown)
            return None
        models = None if record.models is None else frozenset(record.models)
        caller = Caller(tenant=record.tenant, key_id=record.id, allowed_models=models)
        due = asked_at + self._recheck_s * 0.8
        _keep(self._known, name, _Verified(caller, verified_at=asked_at, due=due), self._max_known)
        return caller


class _Verified:
    """A caller, when the store vouched for it, and when to ask again (both monotonic seconds)."""

    __slots__ = ("caller", "due", "verified_at")

    def __init__(self, caller: Caller, *, verified_at: float, due: float) -> None:
        self.caller = caller
        self.verified_at = verified_at
        self.due = due


def _digest(secret: str) -> bytes:
    """Return what a key is stored under."""
    # "replace": a header may hold lone surrogates, and "?" is in no key.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _name(secret: str) -> bytes:
    """Return what this process knows a key by. Not OpenSSL's, which takes 5 us more among other work."""
    return hashlib.blake2b(secret.encode("utf-8", "replace"), digest_size=32).digest()


def _decoded(raw: bytes) -> KeyRecord:
    return msgspec.json.decode(raw, type=KeyRecord)


def _keep(entries: dict[bytes, T], name: bytes, entry: T, limit: int) -> None:
    """Put `entry` last and drop the oldest beyond `limit`."""
    entries.pop(name, None)
    entries[name] = entry
    if len(entries) > limit:
        del entries[next(iter(entries))]
