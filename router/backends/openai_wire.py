"""Sends calls to OpenAI-shaped providers over one shared pool of connections, bytes through.

Must not retry, follow a redirect, read a proxy from the environment, or let a key out of the Authorization header.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Self

import aiohttp

from policies.model import Dialect
from router.arrived import at_hand, next_piece
from router.errors import ErrorKind, ProviderError
from router.provider_errors import error_of_response
from router.provider_link import Answer, ProviderLink, Target
from router.rewrite import provider_body
from router.types import Call, Deployment, Streamed, Whole

_PATHS = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_MAX_ERROR_BYTES = 65_536
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

# What an operator's own headers may not touch: framing, hops, and what this module answers for.
_REFUSED_OUT = re.compile(
    r"(?i)accept-encoding|connection|content-(?:encoding|length|type)|cookie|expect|host|keep-alive"
    r"|proxy-authorization|te|trailer|transfer-encoding|upgrade"
)
# What comes back, and as what. The provider's request id must not pass for ours; its organisation is nobody's business.
_KEPT_BACK = {
    "openai-model": "openai-model",
    "openai-processing-ms": "openai-processing-ms",
    "openai-version": "openai-version",
    "retry-after": "retry-after",
    "retry-after-ms": "retry-after-ms",
    "x-request-id": "x-provider-request-id",
    "x-ratelimit-limit-requests": "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens": "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests": "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens": "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests": "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens": "x-ratelimit-reset-tokens",
}
_READ_FROM_ERRORS = {name: name for name in ("date", "retry-after", "retry-after-ms")}


class OpenAIWire:
    """The backend for deployments whose provider speaks OpenAI's HTTP API at `api_base`.

    The pool is made on the first call, in the loop that makes it, so that nothing is open before a fork.
    `connect_s` bounds waiting for a free connection and making one; answers have no time limit here.
    """

    def __init__(
        self,
        *,
        connect_s: float = 5.0,
        max_connections: int = 1_000,
        max_answer_bytes: int = 8 * 1024 * 1024,
        user_agent: str = "foreword",
    ) -> None:
        self._connect_s = connect_s
        self._max_connections = max_connections
        self._max_answer_bytes = max_answer_bytes
        self._user_agent = user_agent
        self._link: ProviderLink | None = None
        self._targets: dict[tuple[str, Dialect], tuple[Deployment, Target]] = {}

    async def send(self, call: Call) -> Whole | Streamed:
        """Send one call; see router.ports.Backend. A cancelled call drops its connection."""
        response = await self._post(call)
        is_handed_over = False
        try:
            await _refuse(response, call.deployment)
            headers = _picked(response.headers, _KEPT_BACK)
            # Some servers label a stream text/plain or not at all, but none labels one as JSON.
            if call.stream and response.content_type != "application/json":
                is_handed_over = True
                return Streamed(chunks=_Chunks(response, call.deployment), headers=headers)
            return Whole(body=await _read(response, call.deployment, self._max_answer_bytes), headers=headers)
        finally:
            if not is_handed_over:
                response.close()  # keeps the connection where the body was read to its end

    async def close(self) -> None:
        """Close all connections; idempotent."""
        link, self._link = self._link, None
        self._targets.clear()
        if link is not None:
            await link.close()

    async def _post(self, call: Call) -> Answer:
        link = self._opened()
        target = self._target(link, call.deployment, call.request.dialect)
        trace = call.traceparent
        if trace is not None and not _TRACEPARENT.fullmatch(trace):
            trace = None
        try:
            return await link.post(target, provider_body(call), traceparent=trace)
        except (aiohttp.ClientError, OSError) as error:
            raise _connect_failure(error, call.deployment) from error

    def _target(self, link: ProviderLink, deployment: Deployment, dialect: Dialect) -> Target:
        """Return the prepared head of calls to the deployment, made once for each."""
        known = self._targets.get((deployment.id, dialect))
        if known is not None and known[0] is deployment:
            return known[1]
        target = link.target(deployment.api_base + _PATHS[dialect], self._headers(deployment))
        self._targets[deployment.id, dialect] = (deployment, target)
        return target

    def _headers(self, deployment: Deployment) -> dict[str, str]:
        headers = {name: value for name, value in deployment.headers.items() if not _REFUSED_OUT.fullmatch(name)}
        headers["Content-Type"] = "application/json"
        headers["Accept-Encoding"] = "identity"  # the tail must be readable
        headers["User-Agent"] = self._user_agent
        if deployment.secret:
            headers["Authorization"] = f"Bearer {deployment.secret}"
        return headers

    def _opened(self) -> ProviderLink:
        if self._link is None:
            self._link = ProviderLink(connect_s=self._connect_s, max_connections=self._max_connections)
        return self._link


class _Chunks:
    """The raw body of a streamed answer. A class, since a generator that never ran would not close the response."""

    def __init__(self, response: Answer, deployment: Deployment) -> None:
        self._response = response
        self._deployment = deployment

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await next_piece(self._response.content)
        except (aiohttp.ClientError, OSError) as error:
            raise _cut(error, self._deployment) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back where the answer was read to its end, drop it otherwise; idempotent."""
        self._response.close()


async def _refuse(response: Answer, deployment: Deployment) -> None:
    """Raise ProviderError unless the answer is a 200."""
    if response.status != 200:
        body = await _read(response, deployment, _MAX_ERROR_BYTES, cut_off=True)
        headers = _picked(response.headers, _READ_FROM_ERRORS)
        raise error_of_response(response.status, headers, body, secret=deployment.secret)


async def _read(response: Answer, deployment: Deployment, max_bytes: int, *, cut_off: bool = False) -> bytes:
    """Read a body of at most `max_bytes`; more is cut off or refused. Raises ProviderError."""
    content = response.content
    if (body := at_hand(content)) is not None and len(body) <= max_bytes:
        return body
    parts: list[bytes] = []
    size = 0
    try:
        while size <= max_bytes and (part := await next_piece(content)):
            parts.append(part)
            size += len(part)
    except (aiohttp.ClientError, OSError) as error:
        raise _cut(error, deployment) from error
    if size > max_bytes and not cut_off:
        raise ProviderError(
            f"{deployment.provider} sent an answer of more than {max_bytes} bytes", kind="malformed", source="gateway"
        )
    return b"".join(parts)[:max_bytes]


def _picked(headers: Mapping[str, str], allowed: Mapping[str, str]) -> dict[str, str]:
    """Return the allowed headers under the names they go by; the one way in which a header comes back."""
    return {ours: headers[theirs] for theirs, ours in allowed.items() if theirs in headers}


def _connect_failure(error: Exception, deployment: Deployment) -> ProviderError:
    kind: ErrorKind = "unreachable" if isinstance(error, aiohttp.ConnectionTimeoutError) else "connect"
    return ProviderError(f"no answer from {deployment.provider}: {_reason(error)}", kind=kind, source="gateway")


def _cut(error: Exception, deployment: Deployment) -> ProviderError:
    return ProviderError(f"{deployment.provider} broke off its answer: {_reason(error)}", kind="cut", source="gateway")


def _reason(error: Exception) -> str:
    """Name the failure by class and error number: the text of aiohttp's and the system's errors may hold addresses."""
    number = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{type(error).__name__} {number}".strip()
