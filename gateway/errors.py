"""The one table that decides what a failure is to the client: its HTTP status, its codes, and whose text may leave.

Messages here never hold keys, URLs with credentials or prompt text; tracebacks never leave the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.cache.follower import DeadlineExceeded, FellBehind, Interrupted
from gateway.outcome import Source
from policies.model import NoCandidate, RejectionCode
from policies.narrowing import Cut, Headroom
from router.errors import AttemptsFailed, ErrorKind, NoDeployment, ProviderError
from router.facts import BadRequest


class RequestFailed(Exception):
    """A request that ends in an error body. `should_retry` False tells SDKs that the gateway has tried enough.

    `is_recorded` is set once an Outcome tells of it, so that the door does not tell it again. Where budgets refused a
    plan, `headroom` and `cut` are what the record of its decision says of that.
    """

    headroom: Headroom | None = None
    cut: Cut | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str,
        code: str,
        param: str | None = None,
        source: Source = "gateway",
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.source = source
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        self.attempts = attempts
        self.is_recorded = False

    def body(self) -> dict[str, object]:
        """Return the one error body (wire.md)."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
                "source": self.source,
            }
        }


# kind -> (status where the provider's own does not apply, type, code where the provider gave none)
_PROVIDER: Final[Mapping[ErrorKind, tuple[int, str, str]]] = {
    "bad_request": (400, "invalid_request_error", "invalid_request"),
    "context_length": (400, "invalid_request_error", "context_length_exceeded"),
    "content_policy": (400, "invalid_request_error", "content_policy_violation"),
    # The provider refused *our* key: a 401 would send the bot's owner looking at theirs.
    "auth": (502, "provider_error", "invalid_api_key"),
    "not_found": (502, "provider_error", "model_not_found"),
    "rate_limited": (429, "rate_limit_error", "rate_limit_exceeded"),
    "overloaded": (503, "provider_error", "overloaded"),
    "server_error": (502, "provider_error", "provider_error"),
    "connect": (502, "provider_error", "provider_unreachable"),
    "unreachable": (504, "timeout_error", "provider_unreachable"),
    "timeout": (504, "timeout_error", "provider_timeout"),
    "cut": (502, "provider_error", "stream_cut"),
    "malformed": (502, "provider_error", "malformed_answer"),
}

# rejection -> (status, type, code); the first rejected candidate's is shown.
_REJECTED: Final[Mapping[RejectionCode, tuple[int, str, str]]] = {
    "unknown_model": (404, "invalid_request_error", "model_not_found"),
    "not_allowed": (403, "permission_error", "model_not_allowed"),
    "not_here": (403, "permission_error", "provider_not_allowed"),
    "wrong_mode": (400, "invalid_request_error", "wrong_model_mode"),
    "context_window": (400, "invalid_request_error", "context_length_exceeded"),
    "capability": (400, "invalid_request_error", "unsupported_capability"),
    "no_price": (503, "server_error", "no_candidate"),
    "unhealthy": (503, "server_error", "no_candidate"),
    "below_floor": (503, "server_error", "no_candidate"),
    "too_slow": (503, "server_error", "no_candidate"),
}


def from_bad_request(error: BadRequest) -> RequestFailed:
    """Map what the door refused."""
    return RequestFailed(
        error.message,
        status=error.status,
        type="invalid_request_error",
        code=error.code or "invalid_request",
        param=error.param,
    )


def from_no_candidate(none: NoCandidate) -> RequestFailed:
    """Say why no model may serve the request, candidate by candidate."""
    if not none.rejected:
        return RequestFailed(
            f"route {none.route!r} has no candidate", status=503, type="server_error", code="no_candidate"
        )
    status, kind, code = _REJECTED[none.rejected[0].code]
    reasons = "; ".join(rejection.detail for rejection in none.rejected)
    param = "model" if status in (403, 404) or code == "wrong_model_mode" else None
    message = f"route {none.route!r} has no model for this request: {reasons}"
    return RequestFailed(message, status=status, type=kind, code=code, param=param, should_retry=False)


def from_flight(error: Exception) -> RequestFailed:
    """Map how a provider call ended."""
    if isinstance(error, AttemptsFailed):
        return from_provider(error.error, attempts=len(error.attempts))
    if isinstance(error, NoDeployment):
        return RequestFailed(
            f"every deployment of {error.group!r} is cooling down after failures",
            status=503,
            type="server_error",
            code="no_candidate",
            retry_after_s=error.retry_after_s,
        )
    if isinstance(error, DeadlineExceeded):
        return RequestFailed(str(error), status=504, type="timeout_error", code="deadline_exceeded", should_retry=False)
    if isinstance(error, FellBehind):
        return RequestFailed(str(error), status=408, type="timeout_error", code="reader_too_slow")
    if isinstance(error, Interrupted):
        return RequestFailed(
            "the gateway ended this call before its answer was complete",
            status=503,
            type="server_error",
            code="interrupted",
        )
    raise error


def from_provider(error: ProviderError, *, attempts: int) -> RequestFailed:
    """Map a provider's error after the gateway's own attempts; its words are kept, but not those about our key."""
    status, kind, code = _PROVIDER[error.kind]
    if error.kind == "bad_request" and error.status is not None and 400 <= error.status < 500:
        status = error.status if error.status in (400, 413, 422) else 400
    told = "the provider refused the gateway's key" if error.kind == "auth" else error.message
    tried = f" (after {attempts} attempts)" if attempts > 1 else ""
    return RequestFailed(
        told + tried,
        status=status,
        type=error.type if error.type and error.kind != "auth" else kind,
        code=code if error.kind in ("auth", "context_length", "content_policy") else error.code or code,
        param=error.param,
        source=error.source,
        retry_after_s=error.retry_after_s,
        should_retry=False if status >= 500 else None,
        attempts=attempts,
    )


def overloaded(message: str, *, retry_after_s: float) -> RequestFailed:
    """Return the 429 of a full gateway."""
    return RequestFailed(message, status=429, type="rate_limit_error", code="overloaded", retry_after_s=retry_after_s)


def internal() -> RequestFailed:
    """Return the 500 of a bug: the log has the traceback, the client has the request id."""
    return RequestFailed(
        "the gateway failed to handle this request; its log names the request id",
        status=500,
        type="server_error",
        code="internal_error",
        should_retry=False,
    )


_HTTP_TYPES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    409: ("invalid_request_error", "conflict"),
    408: ("timeout_error", "request_timeout"),
    413: ("invalid_request_error", "body_too_large"),
    503: ("server_error", "unavailable"),
}


def http_failure(status: int, message: str, *, code: str | None = None, param: str | None = None) -> RequestFailed:
    """Return a failure of the door itself: wrong path, wrong method, no key, too large."""
    kind, default = _HTTP_TYPES.get(status, ("invalid_request_error", "invalid_request"))
    return RequestFailed(message, status=status, type=kind, code=code or default, param=param)
