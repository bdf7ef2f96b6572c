"""What workers tell each other about breakers, through a small stream in the store they share: hints, never proof.

Must not make a request wait or fail: publishing only notes, observing only takes what a task has fetched before.
Without a store there are no hints, and every worker finds out for itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from gateway.ledger import Streams
from gateway.ports import Clock, StoreUnavailable
from gateway.supervisor import Supervisor
from router.ports import BreakerHint

STREAM: Final = "foreword:breaker-hints"
MAX_ENTRIES: Final = 500
PAGE: Final = 200
POLL_S: Final = 0.5
TTL_S: Final = 15.0
"""As long as a breaker stays open at most: what is older has been found out by a probe."""


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    teller: str
    deployment_id: str
    is_open: bool


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Told)


class SharedHints:
    """The hints of one worker: what it has to tell, and what it has heard. Implements router.ports.BreakerHints.

    Of each deployment only the latest counts. `known` are the ids of this worker's deployments: hints of others, which
    replicas with another models.yaml may give, are ignored. Hints of a worker whose clock is `TTL_S` off are, too.
    """

    def __init__(self, store: Streams, *, clock: Clock, known: Collection[str], stream: str = STREAM) -> None:
        self._store = store
        self._clock = clock
        self._known = frozenset(known)
        self._stream = stream
        self._name = secrets.token_hex(8)
        self._after = _id_at(clock.now() - TTL_S)
        self._to_tell: dict[str, tuple[bool, float]] = {}
        self._heard: dict[str, tuple[bool, float]] = {}
        self._has_news = asyncio.Event()

    def start(self, supervisor: Supervisor) -> None:
        """Begin to tell at once and to listen every `POLL_S`, as tasks of the supervisor; needs a running loop."""
        supervisor.spawn(self._tell_at_once(), name="breaker-hints-out")
        supervisor.every(POLL_S, self.exchange, name="breaker-hints")

    def publish(self, deployment_id: str, *, is_open: bool) -> None:
        """Note what the others are to be told; a later word on the same deployment replaces it."""
        self._to_tell[deployment_id] = is_open, self._clock.now()
        self._has_news.set()

    def observe(self) -> Sequence[BreakerHint]:
        """Return what others have told since the last call, without what has expired."""
        if not self._heard:
            return ()
        heard, self._heard = self._heard, {}
        oldest = self._clock.now() - TTL_S
        return [
            BreakerHint(deployment_id=deployment_id, is_open=is_open)
            for deployment_id, (is_open, told_at) in heard.items()
            if told_at >= oldest
        ]

    async def exchange(self) -> None:
        """Tell what could not be told before, and fetch what others have told; the store may be away."""
        try:
            await self._tell()
            await self._listen()
        except StoreUnavailable:
            return

    async def _tell_at_once(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            try:
                await self._tell()
            except StoreUnavailable:
                continue  # the next exchange tries again

    async def _tell(self) -> None:
        oldest = self._clock.now() - TTL_S
        taken = {name: word for name, word in self._to_tell.items() if word[1] >= oldest}
        self._to_tell = {}
        entries = [
            _encoder.encode(_Told(teller=self._name, deployment_id=name, is_open=is_open))
            for name, (is_open, _) in taken.items()
        ]
        if not entries:
            return
        try:
            await self._store.append(self._stream, entries, max_entries=MAX_ENTRIES)
        except StoreUnavailable:
            self._to_tell = taken | self._to_tell  # what was published meanwhile is newer
            raise

    async def _listen(self) -> None:
        is_more = True
        while is_more:
            page = await self._store.read(self._stream, after=self._after, limit=PAGE)
            for entry_id, entry in page:
                self._after = entry_id
                self._hear(entry_id, entry)
            is_more = len(page) == PAGE

    def _hear(self, entry_id: str, entry: bytes) -> None:
        try:
            told = _decoder.decode(entry)
        except msgspec.DecodeError:  # another version's
            return
        if told.teller != self._name and told.deployment_id in self._known:
            self._heard[told.deployment_id] = told.is_open, int(entry_id.partition("-")[0]) / 1000


def _id_at(at: float) -> str:
    """Return the stream id before all entries of that Unix time."""
    return f"{max(0, int(at * 1000))}-0"
