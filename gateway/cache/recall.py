"""What was found out about bodies that came again, byte for byte: read, classed and keyed once, for exact hits.

Everything here is a pure function of what it is kept with. Must not hold an answer, nor decide who may have one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.keys import Caller
from policies.model import Policy, RequestFacts, RouteClass
from router.types import ChatRequest

MAX_BODIES: Final = 512
MAX_BODY_BYTES: Final = 8192
"""Together they bound the memory; hashing a larger body would cost those that come once more than it saves."""


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """A request, who asked and under which policy, with what follows from these alone: facts, route and exact key.

    For plain requests only: without a session, tags, a namespace or an arm of a rollout.
    """

    request: ChatRequest
    caller: Caller
    policy: Policy
    facts: RequestFacts
    route_class: RouteClass
    key: str


class Recall:
    """The bodies that were hits lately, the oldest dropped first; bodies that come once are not kept."""

    def __init__(self) -> None:
        self._by_body: dict[bytes, Recalled] = {}

    def __len__(self) -> int:
        return len(self._by_body)

    def find(self, body: bytes) -> Recalled | None:
        """Return what is known of these bytes; of which dialect they were then is in its request."""
        return self._by_body.get(body) if len(body) <= MAX_BODY_BYTES else None

    def keep(self, recalled: Recalled) -> None:
        """Keep it, in place of what was known of the same bytes."""
        body = recalled.request.body
        if len(body) > MAX_BODY_BYTES:
            return
        self._by_body.pop(body, None)
        self._by_body[body] = recalled
        if len(self._by_body) > MAX_BODIES:
            del self._by_body[next(iter(self._by_body))]
