"""Decides what follows a failed attempt. Pure: must not wait, pick or count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from router.errors import ErrorKind, ProviderError

Step = Literal["retry", "next", "next_model", "stop"]

# A silent provider is not asked again, nor one that has no key, model or room for us: that costs time and changes
# nothing. What does not fit into a model fits no better elsewhere.
_STEPS: Mapping[ErrorKind, Step] = {
    "bad_request": "stop",
    "content_policy": "stop",
    "context_length": "next_model",
    "auth": "next",
    "not_found": "next",
    "unreachable": "next",
    "timeout": "next",
    "malformed": "next",
    "rate_limited": "retry",
    "overloaded": "retry",
    "server_error": "retry",
    "connect": "retry",
    "cut": "retry",
}
_OF_THE_REQUEST: frozenset[ErrorKind] = frozenset({"bad_request", "content_policy", "context_length"})


def next_step(error: ProviderError, *, is_retry: bool) -> Step:
    """Say what follows a failure: the same deployment once more, the next one, the next model, or the end.

    `is_retry`: this was the second attempt already.
    """
    step = _STEPS[error.kind]
    is_redirect = error.status is not None and 300 <= error.status < 400
    is_hopeless = is_retry or is_redirect or error.code == "insufficient_quota"
    return "next" if step == "retry" and is_hopeless else step


def is_blameless(error: ProviderError) -> bool:
    """Say whether the error speaks of the request, not of the deployment: no cooldown for it."""
    return error.kind in _OF_THE_REQUEST
