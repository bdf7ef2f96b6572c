"""The semantic tier's vocabulary: vectors, entries, neighbours, and what embedders and indexes promise.

No I/O, no decision: guards, the gate and the tier are files of their own (cache.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
"""float32[dim], unit norm: the dot product of two is their cosine."""


class EmbedderUnavailable(Exception):
    """The embedder did not answer in time or at all; the tier is skipped for this request, and says so."""


class Embedded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A text as a vector; `tokens` counts what the embedder read, special tokens included."""

    vector: Vector
    tokens: int


class TooLong(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The text is longer than the embedder's window: it is never truncated, so it has no vector."""

    tokens: int
    window: int


class Embedder(Protocol):
    """Texts to vectors. `id` names weights and precision: vectors of different ids are never compared."""

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    async def embed(self, text: str) -> Embedded | TooLong:
        """Return the text's vector within the embedder's bound (50 ms by default).

        Raises EmbedderUnavailable; a cancelled caller loses only its own answer.
        """
        ...


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One question that an answer object answers: the first one asked, or an alias learnt later.

    `scope` is the hard partition (hexadecimal), `answer_id` the exact tier's key of the answer object. Times are Unix
    seconds. `value` ranks entries when there are too many (higher stays).
    """

    entry_id: str
    answer_id: str
    tenant: str
    scope: str
    text: str
    vector: Vector
    created_at: float
    expires_at: float
    value: float = 0.0


class Neighbour(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry near a question; `similarity` is the cosine, 1 for the same direction (higher is closer)."""

    entry: Entry
    similarity: float


class Index(Protocol):
    """Entries by scope, nearest first. Every method raises StoreUnavailable where its store is away."""

    async def nearest(self, tenant: str, scope: str, vector: Vector, *, k: int) -> Sequence[Neighbour]:
        """Return up to `k` living entries of exactly this tenant and scope, highest cosine first."""
        ...

    async def add(self, *entries: Entry) -> None:
        """Add or replace by entry_id, in one round trip; other workers learn of it within a second.

        After StoreUnavailable some may have been added.
        """
        ...

    async def remove(self, tenant: str, scope: str, entry_ids: Sequence[str]) -> None:
        """Remove entries; unknown ids are ignored."""
        ...

    async def drop(self, tenant: str, scope: str) -> None:
        """Remove a whole scope."""
        ...
