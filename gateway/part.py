"""One stored answer as a part of what somebody may want again, and what having it made again takes. Pure."""

from __future__ import annotations

import msgspec

from router.types import Usage


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One stored answer that the request's result is made of: a chat's own, or one of each step of a run.

    `most_input` and `most_output` are the most tokens that asking it took, as budgets bound them (None: no cap).
    """

    key: str
    model: str
    usage: Usage
    most_input: int = 0
    most_output: int | None = None
