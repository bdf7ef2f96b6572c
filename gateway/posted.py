"""A pipeline's run as it was posted, before it is checked. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.keys import Caller
from gateway.purse import Warming
from gateway.trail import CacheControl


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Who posted what, as the endpoint read it. `received_s` monotonic; `warming` where the warmer posts it again."""

    document: Mapping[str, object]
    caller: Caller
    request_id: str
    received_s: float
    session: str
    tags: frozenset[str]
    cache_control: CacheControl
    deadline_s: float | None
    traceparent: str | None
    warming: Warming | None = None
