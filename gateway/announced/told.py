"""An announcement as the client is told of it: where every item stands, what it cost, how long it is good. No text."""

from __future__ import annotations

from gateway.announced.records import ItemStatus, Kept


def as_json(kept: Kept) -> dict[str, object]:
    """Return the body of both endpoints, times in whole Unix seconds."""
    announcement, statuses = kept.announcement, kept.statuses
    is_begun = any(status.state != "queued" for status in statuses)
    return {
        "id": announcement.id,
        "object": "foreword.warm",
        "status": "done" if kept.has_ended else "warming" if is_begun else "queued",
        "level": announcement.level,
        "created_at": int(announcement.created_at),
        "ready_by": None if announcement.ready_by is None else int(announcement.ready_by),
        "expires_at": int(kept.expires_at),
        "cost_usd": round(sum(status.cost_nanousd for status in statuses) * 1e-9, 9),
        "items": [_item(at, status) for at, status in enumerate(statuses)],
    }


def _item(at: int, status: ItemStatus) -> dict[str, object]:
    shown: dict[str, object] = {"index": at, "status": status.state}
    if status.result:
        shown["result"] = status.result
    if status.detail:
        shown["detail"] = status.detail
    if status.has_ended:
        shown["cost_usd"] = round(status.cost_nanousd * 1e-9, 9)
    if status.key:
        shown["key"] = status.key
    if status.good_until:
        shown["good_until"] = int(status.good_until)
    return shown
