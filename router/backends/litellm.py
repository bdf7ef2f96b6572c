"""Calls providers that are not OpenAI-shaped by way of LiteLLM's Router: one deployment, one try, listed arguments.

Must not let a client's body reach LiteLLM as keyword arguments: `acompletion(api_base=…)` would send the deployment's
real key to that host. Retries, fallbacks and redirects are off.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncGenerator, Mapping
from typing import Self

import orjson

from router import litellm_door
from router.errors import ErrorKind, ProviderError
from router.lenient import decode_lenient
from router.litellm_arguments import call_arguments
from router.litellm_http import is_too_large
from router.litellm_shapes import ChunkStream, HttpResponse, LiteLLMRouter
from router.provider_errors import error_of_document, error_of_response, redact, retry_after_s
from router.types import Call, Streamed, Whole

OK = 200
_EVENT_KEYS = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_CHOICE_KEYS = ("index", "delta", "message", "logprobs", "finish_reason")
_MALFORMED = b"data: {\n\n"
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


class LiteLLMBackend:
    """A row of backends/. `connect_s` bounds connecting, `read_s` the wait for bytes; the caller owns the deadline.

    `max_answer_bytes` bounds streams too: LiteLLM keeps all that it has read of one.
    """

    def __init__(
        self,
        router: LiteLLMRouter,
        *,
        connect_s: float = 5.0,
        read_s: float = 600.0,
        max_answer_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._router = router
        self._timeout = litellm_door.timeout(connect_s=connect_s, read_s=read_s)
        self._client = litellm_door.http_client(connect_s=connect_s, read_s=read_s, max_bytes=max_answer_bytes)
        self._max_answer_bytes = max_answer_bytes
        litellm_door.use_for_sdk(self._client)

    async def send(self, call: Call) -> Whole | Streamed:
        """Send once and return at the first chunk (`Streamed`) or the whole body, in OpenAI's shape.

        Raises ProviderError; kind bad_request with `param` for arguments that no client may set. Cancelling drops the
        connection.
        """
        arguments = call_arguments(call)
        arguments |= {
            "model": call.deployment.id,
            "timeout": self._timeout,
            "num_retries": 0,
            "max_retries": 0,
            "disable_fallbacks": True,
        }
        dialect = call.request.dialect
        if litellm_door.takes_client(call.deployment.provider, dialect):
            arguments["client"] = self._client
        if dialect == "chat":
            # Else LiteLLM looks for servers of its own behind a client's tools.
            arguments["_skip_mcp_handler"] = True
        ask = self._router.aembedding if dialect == "embeddings" else self._router.acompletion
        with litellm_door.responses() as responses:
            try:
                answer = await ask(**arguments)
            except litellm_door.CALL_ERRORS as error:
                raise _provider_error(error, call, responses) from None
        if (stream := litellm_door.stream_in(answer)) is not None:
            return Streamed(
                chunks=_Chunks(stream, call, responses, self._max_answer_bytes),
                headers={},
            )
        body = orjson.dumps(_answer(litellm_door.document_in(answer), call, responses))
        return Whole(body=body, headers={})

    async def close(self) -> None:
        """Release connections; idempotent."""
        await self._client.close()


class _Chunks:
    """LiteLLM's chunks as the wire bytes of OpenAI's events. `aclose` drops the connection, begun or not."""

    def __init__(self, stream: ChunkStream, call: Call, responses: list[HttpResponse], max_bytes: int) -> None:
        self._stream = stream
        self._responses = responses
        self._events = _events(stream, call, responses, max_bytes)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Close the stream, then the response below it, which LiteLLM's own close leaves open."""
        await self._events.aclose()
        await self._stream.aclose()
        for response in self._responses:
            await response.aclose()


async def _events(
    stream: ChunkStream, call: Call, responses: list[HttpResponse], max_bytes: int
) -> AsyncGenerator[bytes, None]:
    """Yield the events, usage last and on its own, then [DONE].

    LiteLLM invents finish_reason "stop" where a provider's stream merely ends; unless the provider said it, that is a
    cut. For each malformed event that LiteLLM did not get to see comes one that is as malformed: whoever reads counts.
    """
    usage: object = None
    frame: dict[str, object] = {}
    said_bytes = malformed = 0
    try:
        async for chunk in stream:
            document = chunk.model_dump(exclude_none=True)
            usage = document.get("usage", usage)
            frame = {key: document[key] for key in _EVENT_KEYS if key in document}
            choices = [_choice(one) for one in _list(document.get("choices"))]
            is_last = any(choice["finish_reason"] is not None for choice in choices)
            if is_last and not litellm_door.is_finished(stream):
                cut = ProviderError("the provider's stream ended before its end", kind="cut", source="gateway")
                raise (None if said_bytes else _error_in_200(call, responses)) or cut
            said_bytes += sum(len(orjson.dumps(choice.get("delta"))) for choice in choices)
            if said_bytes > max_bytes:
                raise _too_much(call, max_bytes)
            if missing := litellm_door.malformed_events(responses) - malformed:
                malformed += missing
                yield _MALFORMED * missing
            if is_last or any(choice.get("delta") for choice in choices):
                yield _event({**frame, "choices": choices})
    except litellm_door.CALL_ERRORS as error:
        raise _stream_error(error, call, responses) from None
    if missing := litellm_door.malformed_events(responses) - malformed:
        yield _MALFORMED * missing
    if isinstance(usage, dict):
        yield _event({**frame, "choices": [], "usage": _usage(usage)})
    yield b"data: [DONE]\n\n"


def _event(document: Mapping[str, object]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def _answer(document: Mapping[str, object], call: Call, responses: list[HttpResponse]) -> dict[str, object]:
    """Return the answer with OpenAI's members alone: what LiteLLM adds for itself stays here."""
    if call.request.dialect == "embeddings":
        answer = {key: document[key] for key in ("object", "data", "model") if key in document}
        if call.request.document.get("encoding_format") == "base64":
            answer["data"] = [{**row, "embedding": _base64(row.get("embedding"))} for row in _list(answer.get("data"))]
    else:
        answer = {key: document[key] for key in _EVENT_KEYS if key in document}
        answer["choices"] = [_choice(one) for one in _list(document.get("choices"))]
    usage = document.get("usage")
    if call.request.dialect == "chat" and not isinstance(usage, dict) and not _holds_answer(answer):
        # LiteLLM makes an empty answer of an error that came with a 200.
        nothing = ProviderError("the provider's answer holds nothing", kind="malformed", source="gateway")
        raise _error_in_200(call, responses) or nothing
    return {**answer, "usage": _usage(usage)} if isinstance(usage, dict) else answer


def _error_in_200(call: Call, responses: list[HttpResponse]) -> ProviderError | None:
    """Return the error that came as the body of a 200, in the provider's words; None where none did."""
    try:
        document = decode_lenient(litellm_door.short_body(responses))
    except ValueError:
        return None
    is_error = isinstance(document, dict) and bool(document.get("error"))
    return error_of_document(document, secret=call.deployment.secret) if is_error else None


def _holds_answer(answer: Mapping[str, object]) -> bool:
    """Say whether any choice has a message with more than a role."""
    messages = [choice.get("message") for choice in _list(answer.get("choices"))]
    return any(
        value for message in messages if isinstance(message, dict) for key, value in message.items() if key != "role"
    )


def _base64(vector: object) -> object:
    """Encode as OpenAI does (little-endian float32), which native providers do not know."""
    if not isinstance(vector, list):
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _choice(stated: Mapping[str, object]) -> dict[str, object]:
    choice: dict[str, object] = {key: stated[key] for key in _CHOICE_KEYS if key in stated}
    choice.setdefault("finish_reason", None)
    for part in ("message", "delta"):
        inner = choice.get(part)
        if isinstance(inner, dict):
            inner.pop("provider_specific_fields", None)
            if part == "message":
                inner.setdefault("content", None)
                for tool_call in _list(inner.get("tool_calls")):
                    tool_call.pop("index", None)
    return choice


def _usage(stated: Mapping[str, object]) -> dict[str, object]:
    """Return OpenAI's counts; LiteLLM's prompt_tokens includes what was read from and written to the cache."""
    counts = {key: stated[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens") if key in stated}
    for name in _DETAILS:
        details = stated.get(name)
        if isinstance(details, dict):
            counts[name] = {key: value for key, value in details.items() if isinstance(value, int)}
    return counts


def _list(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _stream_error(error: Exception, call: Call, responses: list[HttpResponse]) -> ProviderError:
    """Map an error inside a stream: a lost connection is a cut, a stated error has no HTTP status."""
    found = _provider_error(error, call, responses)
    if found.source == "gateway" and not is_too_large(error):
        return ProviderError("the provider's stream broke off", kind="cut", source="gateway")
    return found


def _provider_error(error: Exception, call: Call, responses: list[HttpResponse]) -> ProviderError:
    """Map LiteLLM's exception; the provider's own status, headers and words, where there are any, come first.

    A text that quotes no provider's JSON is LiteLLM's own and may quote the prompt: it stays here.
    """
    kind, text, secret = litellm_door.kind_of(error), litellm_door.text_of(error), call.deployment.secret
    status = responses[-1].status_code if responses and responses[-1].status_code != OK else None
    if status is not None and 300 <= status < 400:
        return error_of_response(status, {}, b"", secret=secret)
    if litellm_door.is_untranslatable(error):
        stated = redact(text, secret).removeprefix("litellm.UnsupportedParamsError: ").partition(" To drop these")[0]
        return _of_gateway(stated, "bad_request", status=400, code="unsupported_parameter")
    if kind == "timeout" and status is None:
        return _of_gateway("the provider did not answer in time", kind)
    if kind in ("connect", "unreachable") and status is None:
        return _of_gateway("no connection to the provider", kind)
    if not responses:
        message = f"the request cannot be translated for {call.deployment.provider}"
        return _of_gateway(message, "bad_request", status=400)
    if status is None and (stated_error := _error_in_200(call, responses)) is not None:
        return stated_error
    if kind == "malformed":
        return _of_gateway("the provider's answer is no answer", kind)
    document = _document_in(text)
    after_s = retry_after_s({name.lower(): value for name, value in responses[-1].headers.items()})
    found = error_of_document(document, status=status, retry_after_s=after_s, secret=secret)
    if kind in ("context_length", "content_policy") or (document is None and status is None):
        found.kind = kind
    return found


def _too_much(call: Call, max_bytes: int) -> ProviderError:
    return _of_gateway(f"{call.deployment.provider} sent an answer of more than {max_bytes} bytes", "malformed")


def _of_gateway(message: str, kind: ErrorKind, *, status: int | None = None, code: str | None = None) -> ProviderError:
    return ProviderError(
        message,
        kind=kind,
        source="gateway",
        status=status,
        code=code,
        type="invalid_request_error" if kind == "bad_request" else None,
    )


def _document_in(text: str) -> object:
    """Return the JSON object that LiteLLM's message quotes from the provider, None where there is none."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        document: object = orjson.loads(text[start : end + 1])
    except orjson.JSONDecodeError:
        return None
    return document
