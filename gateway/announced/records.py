"""What a client announced (POST /v1/warm) and what became of it, as values; holds texts, and so is never logged."""

from __future__ import annotations

import hashlib
from typing import Final, Literal, get_args

import msgspec

from warmer.types import Kind, Level

State = Literal["queued", "warming", "ready", "skipped", "failed"]
ItemResult = Literal[
    "answer",
    "prefix",
    "fresh",
    "over_budget",
    "off",
    "not_allowed",
    "not_worth",
    "held_out",
    "stopped",
    "crowded_out",
    "too_late",
    "error",
]
"""How an item ended; the label of its metric."""
Posting = Literal["new", "known", "full"]
"""What a post came to: kept, the same as one before, or refused because there are too many."""
POSTINGS: tuple[str, ...] = get_args(Posting)
RESULTS: tuple[str, ...] = get_args(ItemResult)
_READY: tuple[ItemResult, ...] = ("answer", "prefix")
UNSAID_S: Final = 300.0
"""How soon it is taken to be wanted where nobody said."""


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that will be asked: a chat request's body, or with `pipeline` what will be posted to that pipeline."""

    body: bytes
    pipeline: str = ""

    @property
    def kind(self) -> Kind:
        return "run" if self.pipeline else "chat"


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What one client said it will ask, as whom, and when it will be wanted: Unix seconds, None where it did not say.

    `content` is the digest of what was announced: equal for equal wishes of one tenant, whenever they are wanted.
    `items` is empty once all `count` have ended: their texts are not kept longer than needed.
    """

    id: str
    tenant: str
    key_id: str
    allowed_models: frozenset[str] | None
    session: str
    tags: frozenset[str]
    level: Level
    created_at: float
    ready_by: float | None
    content: str
    count: int
    items: tuple[Item, ...]

    @property
    def wanted_at(self) -> float:
        """When its turn is, among others."""
        return self.created_at + UNSAID_S if self.ready_by is None else self.ready_by


class ItemStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Where one item stands. `detail` is one sentence for the client; `key` the exact cache key of the answer, of a run
    the digest of what was posted; `good_until` (Unix s) is when the first of its answers expires."""

    state: State = "queued"
    result: ItemResult | Literal[""] = ""
    detail: str = ""
    cost_nanousd: int = 0
    key: str = ""
    good_until: float = 0.0

    @property
    def has_ended(self) -> bool:
        return self.state not in ("queued", "warming")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement as it is stored, with one status an item; `expires_at` Unix s."""

    announcement: Announcement
    statuses: tuple[ItemStatus, ...]
    expires_at: float

    @property
    def has_ended(self) -> bool:
        return all(status.has_ended for status in self.statuses)


def ended(
    result: ItemResult, detail: str = "", *, cost_nanousd: int = 0, key: str = "", good_until: float = 0.0
) -> ItemStatus:
    """Return the status of an item that ended with `result`."""
    state: State = "ready" if result in _READY else "failed" if result == "error" else "skipped"
    return ItemStatus(
        state=state, result=result, detail=detail, cost_nanousd=cost_nanousd, key=key, good_until=good_until
    )


def announcement_id(tenant: str, name: str) -> str:
    """Return the id of a tenant's announcement of that content, or under that idempotency key."""
    return "warm-" + hashlib.sha256(f"{tenant}\n{name}".encode()).hexdigest()[:32]
