"""What can go wrong with a provider call. Data, not prose: callers act on `kind`, `status` and `retry_after_s`.

Nothing here may hold a provider key, a URL with credentials or prompt text.
"""

from __future__ import annotations

from typing import Literal

from router.types import AttemptRecord

ErrorKind = Literal[
    "bad_request",  # the request itself is wrong; no other attempt can help
    "context_length",  # too long for this model; another may fit
    "content_policy",  # refused by the provider's filter
    "auth",  # the provider refused our key
    "not_found",  # the provider does not know the model
    "rate_limited",  # 429
    "overloaded",  # 503, 529
    "server_error",  # any other 5xx, or an error in a 200 body or event
    "connect",  # connection refused, or reset before the headers
    "unreachable",  # no connection within the limit: it has not seen the request
    "timeout",  # first token, gap or total
    "cut",  # the stream ended before its terminal event
    "malformed",  # an answer that is no answer
]


class ProviderError(Exception):
    """One attempt failed. `source` is "provider" when the provider said it, "gateway" when we found it.

    `status` is the provider's HTTP status or None; `code`, `type` and `param` are passed on as the provider named them;
    `retry_after_s` is the provider's wish in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        source: Literal["gateway", "provider"],
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.source = source
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.retry_after_s = retry_after_s


class NoDeployment(Exception):
    """No deployment of `group` is in service; `retry_after_s` says when one may be, None if unknown."""

    def __init__(self, group: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"no deployment of {group!r} is in service")
        self.group = group
        self.retry_after_s = retry_after_s


class AttemptsFailed(Exception):
    """Every attempt that the plan allows has failed; `error` is the one to show, `attempts` all of them."""

    def __init__(self, error: ProviderError, attempts: tuple[AttemptRecord, ...]) -> None:
        super().__init__(error.message)
        self.error = error
        self.attempts = attempts
