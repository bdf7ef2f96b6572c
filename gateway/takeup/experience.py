"""How long answers were lately and how long their callers waited, from the ledger's end: what an announced request that
nobody has asked before is taken to come to. Must not price anything, and sees each tenant's own requests only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.ledger import STREAM, UnknownEntry, decode
from gateway.outcome import Outcome
from gateway.ports import Clock
from gateway.redis_replies import elements, mapping, pair
from gateway.waiting import Command

ENTRIES: Final = 2000
RENEW_S: Final = 30.0
"""Reading the ledger's end takes some 20 ms of CPU, in a thread."""


class Runner(Protocol):
    """What runs commands in Redis, one round trip; raises StoreUnavailable."""

    async def run(self, *commands: Command) -> list[object]: ...


@dataclass(slots=True)
class _Mean:
    count: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class _Seen:
    output_tokens: _Mean = field(default_factory=_Mean)
    wait_s: _Mean = field(default_factory=_Mean)
    cheap_s: _Mean = field(default_factory=_Mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Means over misses of requests like it, None where none was seen; `cheap_s` is what the cheap tier took."""

    output_tokens: float | None = None
    wait_s: float | None = None
    cheap_s: float | None = None


_Name = tuple[str, ...]


class Experience:
    """Owner of these means; `renew` reads the ledger's end again, at most every `renew_s`."""

    def __init__(self, store: Runner, clock: Clock, *, stream: str = STREAM, renew_s: float = RENEW_S) -> None:
        self._store = store
        self._clock = clock
        self._stream = stream
        self._renew_s = renew_s
        self._read_at_s: float | None = None
        self._seen: dict[_Name, _Seen] = {}

    async def renew(self) -> None:
        """Look at the ledger's last entries. Raises StoreUnavailable."""
        now_s = self._clock.monotonic()
        if self._read_at_s is not None and now_s - self._read_at_s < self._renew_s:
            return
        (reply,) = await self._store.run(("XREVRANGE", self._stream, "+", "-", "COUNT", ENTRIES))
        entries = [mapping(fields).get(b"d", b"") for _, fields in map(pair, elements(reply))]
        self._seen = await asyncio.to_thread(_means, entries)
        self._read_at_s = now_s

    def of_request(self, tenant: str, *, route: str, tags: Iterable[str], model: str) -> Expected:
        """Return what the tenant's requests of that route and model came to: those with the same tags, else all."""
        own = self._seen.get((tenant, "request", route, model, *sorted(tags)))
        return _expected(own or self._seen.get((tenant, "requests", route, model)))

    def of_run(self, tenant: str, *, pipeline_model: str) -> Expected:
        """Return what the tenant's runs of that pipeline came to."""
        return _expected(self._seen.get((tenant, "run", pipeline_model)))


def _expected(seen: _Seen | None) -> Expected:
    if seen is None:
        return Expected()
    return Expected(output_tokens=seen.output_tokens.value, wait_s=seen.wait_s.value, cheap_s=seen.cheap_s.value)


def _means(entries: Sequence[bytes]) -> dict[_Name, _Seen]:
    seen: dict[_Name, _Seen] = {}
    for entry in entries:
        try:
            outcome = decode(entry)
        except UnknownEntry:
            continue
        if outcome.result == "ok" and outcome.cache in ("miss", "bypass"):
            for name in _names(outcome):
                _add(seen.setdefault(name, _Seen()), outcome)
    return seen


def _names(outcome: Outcome) -> tuple[_Name, ...]:
    tenant = outcome.tenant
    if outcome.endpoint == "pipeline":
        return ((tenant, "run", outcome.requested_model),)
    place = (outcome.route, outcome.routed_model)
    return (tenant, "request", *place, *outcome.tags), (tenant, "requests", *place)


def _add(seen: _Seen, outcome: Outcome) -> None:
    is_run = outcome.endpoint == "pipeline"
    if outcome.origin == "warmer":
        # What the warmer waits for, at its own pace, says nothing of what a caller would; a prompt that it only has
        # read says nothing of answers.
        if is_run or outcome.usage.service_tier:
            seen.cheap_s.add(outcome.total_s)
    elif outcome.origin in ("user", "pipeline"):
        seen.wait_s.add(outcome.total_s)
        if not is_run:
            seen.output_tokens.add(outcome.usage.output_tokens)
