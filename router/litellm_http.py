"""What passes between LiteLLM's HTTP client and a provider: bounded, and without the broken events it would die of.

Must not know what a provider's events mean, nor import LiteLLM.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from router.lenient import decode_lenient
from router.sse import MAX_EVENT_BYTES

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
MAX_SHORT_BYTES = 65_536
"""LiteLLM forgets an error that came with a 200; a body of this length at most is looked at once more."""


class TooLarge(ValueError):
    """A provider's answer, or one event of it, is larger than anybody wants to hold."""


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what lies below it, twelve deep at most."""
    for _ in range(12):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def is_too_large(error: BaseException) -> bool:
    """Tell whether a call ended because its answer, or an event of it, was too large."""
    return any(isinstance(one, TooLarge) for one in causes_of(error))


class HttpRequest(Protocol):
    """A request of httpx's; its transport reads the time limits from `extensions`."""

    extensions: dict[str, object]


def connecting_within(connect_s: float) -> Callable[[HttpRequest], Awaitable[None]]:
    """Return a hook that bounds waiting for a connection: LiteLLM takes one limit for all from most providers."""

    async def bound(request: HttpRequest) -> None:
        stated = request.extensions.get("timeout")
        limits = stated if isinstance(stated, dict) else {}
        request.extensions = {
            **request.extensions,
            "timeout": {**limits, "connect": connect_s, "pool": connect_s},
        }

    return bound


class Body(Protocol):
    """What lets a body through, piece by piece; `malformed_events` were left out."""

    malformed_events: int

    def feed(self, part: bytes) -> bytes:
        """Return what goes on of everything seen so far. Raises TooLarge."""
        ...

    def end(self) -> bytes:
        """Return what is left where the body has ended."""
        ...


class WholeBody:
    """Lets a body of at most `max_bytes` through, and remembers a short one."""

    def __init__(self, max_bytes: int) -> None:
        self.malformed_events = 0
        self._max_bytes = max_bytes
        self._size = 0
        self._begun = bytearray()

    @property
    def short(self) -> bytes:
        """The whole body where it is no longer than what an error would say, else b""."""
        return bytes(self._begun) if self._size <= MAX_SHORT_BYTES else b""

    def feed(self, part: bytes) -> bytes:
        self._size += len(part)
        if self._size > self._max_bytes:
            raise TooLarge(f"more than {self._max_bytes} bytes")
        if self._size <= MAX_SHORT_BYTES:
            self._begun += part
        return part

    def end(self) -> bytes:
        return b""


class EventBody:
    """Lets server-sent events through one by one, each as it came, but those whose data is no JSON object.

    `[DONE]`, comments and events without data are none of ours. A piece of an event at the end is a cut: it is left
    out and not counted.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.malformed_events = 0
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()

    def feed(self, part: bytes) -> bytes:
        pending, kept, start = self._pending, [], 0
        seen = max(0, len(pending) - 3)  # a blank line has four bytes at most
        pending += part
        for blank in _BLANK.finditer(pending, seen):
            event = bytes(pending[start : blank.end()])
            start = blank.end()
            if _is_well_formed(event):
                kept.append(event)
            else:
                self.malformed_events += 1
        self._pending = pending[start:]
        if len(self._pending) > self._max_event_bytes:
            raise TooLarge(f"an event of more than {self._max_event_bytes} bytes")
        return b"".join(kept)

    def end(self) -> bytes:
        rest, self._pending = bytes(self._pending), bytearray()
        return rest if _is_well_formed(rest) else b""


def body_of(headers: Mapping[str, str], max_bytes: int) -> Body:
    """Return what lets a response of these headers through."""
    is_stream = headers.get("content-type", "").startswith("text/event-stream")
    return EventBody() if is_stream else WholeBody(max_bytes)


def _is_well_formed(event: bytes) -> bool:
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    data = b"\n".join(lines).strip()
    if not data or data.startswith(b"[DONE]"):
        return True
    try:
        _FIELDS.decode(data)
    except msgspec.MsgspecError:
        pass
    else:
        return True
    try:
        return isinstance(decode_lenient(data), dict)
    except ValueError:
        return False
