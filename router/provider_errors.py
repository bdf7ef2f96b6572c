"""Maps what a provider says went wrong to ProviderError. Must not let a key, masked or whole, into a message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from router.errors import ErrorKind, ProviderError
from router.lenient import decode_lenient

_MAX_MESSAGE_CHARS = 2_000
_MAX_LABEL_CHARS = 128

# Keys as providers print them, masked or not: "Incorrect API key provided: sk-abc***xyz" (OpenAI), "Bearer …".
_KEY = re.compile(r"(?i)\b(?:bearer\s+[^\s,;\"']+|(?:sk|pk|rk|gsk|xai|key|AIza)[-_][\w*.…-]{4,}|AIza[\w*-]{8,})")

_CONTEXT_WORDS = re.compile(
    r"(?i)maximum context length|context[ _]length|context window|prompt is too long|input is too long"
    r"|too many input tokens|exceeds the (?:model's )?maximum (?:number of )?(?:input )?tokens|input token count"
)
_POLICY_WORDS = re.compile(
    r"(?i)content[ _]policy|content[ _]filter|content management policy|responsible ?ai"
    r"|flagged (?:for|as)|safety system"
)

_KIND_OF_STATUS: dict[int, ErrorKind] = {
    401: "auth",
    402: "auth",  # no credit left on the gateway's account: another provider can help, another try cannot
    403: "auth",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}

_KIND_OF_WORD: dict[str, ErrorKind] = {
    "context_length_exceeded": "context_length",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "invalid_request_error": "bad_request",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "permission_error": "auth",
    "insufficient_quota": "rate_limited",
    "rate_limit_error": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "rate_limited": "rate_limited",
    "overloaded_error": "overloaded",
    "model_not_found": "not_found",
    "not_found_error": "not_found",
    "timeout": "timeout",
}


def error_of_response(status: int, headers: Mapping[str, str], body: bytes, *, secret: str) -> ProviderError:
    """Map an HTTP answer that is no 200; `headers` by lower-case name, `body` may be cut short or be no JSON."""
    if 300 <= status < 400:
        return ProviderError(
            f"redirect refused: the provider answered {status}", kind="server_error", source="gateway", status=status
        )
    try:
        document = decode_lenient(body)
    except ValueError:
        document = None
    return error_of_document(document, status=status, retry_after_s=retry_after_s(headers), secret=secret)


def error_of_document(
    document: object, *, status: int | None = None, retry_after_s: float | None = None, secret: str = ""
) -> ProviderError:
    """Map the shapes in use: {"error": {…}}, {"error": "…"}, {"message": …}, {"detail": …}, and a list of one."""
    error = _error_object(document)
    code, type_, param = (_text(error.get(name)) for name in ("code", "type", "param"))
    stated = _text(error.get("message")) or _text(error.get("detail")) or ""
    if status is None and code is not None and code.isdigit() and 400 <= int(code) < 600:
        status = int(code)  # OpenRouter puts the status into the code of an error event
    kind = _kind(status, code, type_, stated)
    return ProviderError(
        _message(kind, status, stated, secret),
        kind=kind,
        source="provider",
        status=status,
        code=_label(code, secret),
        type=_label(type_, secret),
        param=_label(param, secret),
        retry_after_s=retry_after_s,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms` or `retry-after` (seconds or an HTTP date, RFC 9110 10.2.3); None where unreadable.

    A date is measured against the provider's own Date header, which spares us both clocks' difference.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (seconds := _number(headers.get(name))) is not None:
            return max(0.0, seconds * scale)
    try:
        wanted = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (wanted - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def redact(text: str, secret: str = "") -> str:
    """Return `text` without `secret` and without anything that looks like a provider key."""
    if secret:
        text = text.replace(secret, "[key]")
    return _KEY.sub("[key]", text)


def _kind(status: int | None, code: str | None, type_: str | None, stated: str) -> ErrorKind:
    named = next((_KIND_OF_WORD[word] for word in (code, type_) if word in _KIND_OF_WORD), None)
    is_refusal = status in (None, 400, 403, 413, 422) and named not in ("auth", "rate_limited", "overloaded")
    if is_refusal and (named == "context_length" or _CONTEXT_WORDS.search(stated)):
        return "context_length"
    if is_refusal and (named == "content_policy" or _POLICY_WORDS.search(stated)):
        return "content_policy"
    if status is None:
        return named or "server_error"
    if status in _KIND_OF_STATUS:
        return _KIND_OF_STATUS[status]
    if named == "not_found":
        return "not_found"
    return "server_error" if status >= 500 else "bad_request"


def _message(kind: ErrorKind, status: int | None, stated: str, secret: str) -> str:
    if kind == "auth":  # providers repeat parts of the key here
        return f"the provider refused the gateway's own key or account (status {status})"
    if not stated:
        return f"the provider answered {status} without a reason" if status else "the provider sent an error"
    return redact(stated, secret)[:_MAX_MESSAGE_CHARS]


def _label(stated: str | None, secret: str) -> str | None:
    """A code, type or parameter goes to clients and logs as the message does."""
    return None if stated is None else redact(stated, secret)[:_MAX_LABEL_CHARS]


def _error_object(document: object) -> Mapping[str, object]:
    if isinstance(document, list) and document:
        document = document[0]  # Gemini's OpenAI-shaped endpoint wraps its error in a list
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    if isinstance(error, dict):
        return error
    return {**document, "message": error}


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
