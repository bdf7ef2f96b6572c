"""What Redis answers, taken apart: each function wants one kind of reply and raises StoreUnavailable for any other.

Knows no command and no connection.
"""

from __future__ import annotations

from gateway.ports import StoreUnavailable


def unexpected(reply: object) -> StoreUnavailable:
    """Return the error for a reply of the wrong kind; it names the kind, never the value."""
    return StoreUnavailable(f"redis answered with {type(reply).__name__}, which is no reply to this command")


def optional(reply: object) -> bytes | None:
    """Return a bulk string, or None where there was none."""
    if reply is None or isinstance(reply, bytes):
        return reply
    raise unexpected(reply)


def integer(reply: object) -> int:
    """Return an integer."""
    if isinstance(reply, int):
        return reply
    raise unexpected(reply)


def text(reply: object) -> str:
    """Return a bulk string as text."""
    if isinstance(reply, bytes):
        return reply.decode()
    raise unexpected(reply)


def elements(reply: object) -> list[object]:
    """Return an array."""
    if isinstance(reply, list):
        return reply
    raise unexpected(reply)


def pair(reply: object) -> tuple[object, object]:
    """Return an array of two."""
    first, second = elements(reply)
    return first, second


def mapping(reply: object) -> dict[bytes, bytes]:
    """Return the dictionary that Redis sends as a flat array of names and values."""
    items = [item for item in elements(reply) if isinstance(item, bytes)]
    return dict(zip(items[::2], items[1::2], strict=True))
