"""The one door to LiteLLM: quiet, without telemetry, dotenv files or network at import; gives its shapes types of ours.

Must not import anything of ours but values, nor build a Router or an HTTP client at import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

if TYPE_CHECKING:
    from router.errors import ErrorKind

# LiteLLM reads these while it is imported, so they come first. MODE: else it reads a .env file from the working
# directory. LOCAL_MODEL_COST_MAP: else it fetches the price map from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"
os.environ["LITELLM_LOG"] = "ERROR"
os.environ["DISABLE_AIOHTTP_TRUST_ENV"] = "True"

import litellm
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.router_utils.router_callbacks.track_deployment_metrics import (
    increment_deployment_successes_for_current_minute,
)
from litellm.types.router import RouterRateLimitError

litellm.suppress_debug_info = True  # else it prints its provider list to stdout on errors
litellm.turn_off_message_logging = True
litellm.disable_streaming_logging = True
litellm.num_retries = None
litellm.request_timeout = 600.0
for _name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
    # CRITICAL, not ERROR: its error lines quote prompts and provider bodies. Every failure reaches us as an exception.
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Dumpable(Protocol):
    """What LiteLLM answers with: a pydantic model."""

    def model_dump(self, *, exclude_none: bool) -> dict[str, object]: ...


class _Choice(Protocol):
    finish_reason: str | None


class _Chunk(Protocol):
    choices: Sequence[_Choice]


class ChunkStream(Protocol):
    """A streamed answer; `aclose` drops the provider's connection."""

    chunks: Sequence[_Chunk]

    def __aiter__(self) -> AsyncIterator[Dumpable]: ...

    async def aclose(self) -> None: ...


class MemoryCache(Protocol):
    """LiteLLM's in-memory cache: key -> value."""

    cache_dict: Mapping[str, object]


class CooldownCache(Protocol):
    """Where the Router keeps which deployments are cooling."""

    in_memory_cache: MemoryCache

    def get_active_cooldowns(
        self, model_ids: list[str], parent_otel_span: None
    ) -> list[tuple[str, Mapping[str, object]]]: ...


class LiteLLMRouter(Protocol):
    """The part of litellm.Router 1.106.2 that we call."""

    cooldown_cache: CooldownCache
    cooldown_time: float

    async def async_get_available_deployment(
        self, *, model: str, request_kwargs: dict[str, object], messages: list[dict[str, str]] | None = None
    ) -> Mapping[str, Mapping[str, object]]: ...

    async def acompletion(self, **arguments: object) -> Dumpable | ChunkStream: ...

    async def aembedding(self, **arguments: object) -> Dumpable: ...

    def deployment_callback_on_failure(
        self, kwargs: Mapping[str, object], completion_response: None, start_time: None, end_time: None
    ) -> bool: ...

    def discard(self) -> None: ...


class HttpResponse(Protocol):
    """What a provider answered; `aclose` drops the connection unless all of it was read."""

    status_code: int
    headers: Mapping[str, str]

    async def aclose(self) -> None: ...


_RESPONSES: ContextVar[list[HttpResponse] | None] = ContextVar("litellm_responses", default=None)


class HttpClient(Protocol):
    """LiteLLM's HTTP client."""

    async def close(self) -> None: ...


def router(model_list: Sequence[Mapping[str, object]], *, cooldown_s: float) -> LiteLLMRouter:
    """Build a Router without retries, fallbacks, Redis, response cache and global callbacks.

    `discard` takes its callbacks out of LiteLLM's global lists: health is reported to it by `report_success` and
    `deployment_callback_on_failure` alone, or every failure of LiteLLM's own calls would count twice.
    """
    built: LiteLLMRouter = litellm.Router(
        model_list=[dict(entry) for entry in model_list],
        num_retries=0,
        max_fallbacks=0,
        cache_responses=False,
        cooldown_time=cooldown_s,
        routing_strategy="simple-shuffle",
    )
    built.discard()
    return built


def report_success(target: LiteLLMRouter, deployment_id: str) -> None:
    """Count a success for the Router's failure share of this minute."""
    increment_deployment_successes_for_current_minute(target, deployment_id)


def report_failure(
    target: LiteLLMRouter, deployment_id: str, *, group: str, kind: ErrorKind, cooldown_s: float
) -> bool:
    """Count a failure and let the Router decide on a cooldown; return whether it cools.

    The exception stands for the kind alone, so that no provider text lies in the Router's caches.
    """
    make = _EXCEPTION_OF.get(kind, litellm.exceptions.InternalServerError)
    failure = {
        "exception": make(message=kind, llm_provider="", model=group),
        "litellm_params": {
            "model_info": {"id": deployment_id},
            "metadata": {"model_group": group},
            "cooldown_time": cooldown_s,
        },
    }
    return target.deployment_callback_on_failure(failure, None, None, None)


class _OneTry(AsyncHTTPHandler):  # type: ignore[misc]
    """LiteLLM's HTTP client without the second try that it makes of its own after a lost connection."""

    async def single_connection_post_request(self, *_args: object, **_arguments: object) -> NoReturn:
        raise litellm.httpx.ConnectError("one try: the gateway owns every retry")


def http_client(*, connect_s: float, read_s: float) -> HttpClient:
    """Return an HTTP client that follows no redirect: httpx would send `x-api-key` on to another host."""
    client: HttpClient = _OneTry(
        timeout=timeout(connect_s=connect_s, read_s=read_s),
        event_hooks={"response": [_remember]},
        follow_redirects=False,
    )
    return client


@contextmanager
def responses() -> Iterator[list[HttpResponse]]:
    """Collect the HTTP responses that calls made inside this block receive.

    LiteLLM's stream wrappers cannot close the connection below them, and its errors forget the provider's status.
    """
    seen: list[HttpResponse] = []
    token = _RESPONSES.set(seen)
    try:
        yield seen
    finally:
        _RESPONSES.reset(token)


async def _remember(response: HttpResponse) -> None:
    seen = _RESPONSES.get()
    if seen is not None:
        seen.append(response)


def timeout(*, connect_s: float, read_s: float) -> object:
    """Return the timeouts of one call as LiteLLM takes them."""
    return litellm.httpx.Timeout(read_s, connect=connect_s)


def provider_of(model: str) -> tuple[str, str, str | None]:
    """Return (the provider's own model name, provider, its default API base). Raises ValueError when unknown."""
    try:
        name, provider, _, base = litellm.get_llm_provider(model=model)
    except litellm.exceptions.BadRequestError as error:
        raise ValueError(f"{model!r}: LiteLLM knows no such provider; write <provider>/<model>") from error
    return str(name), str(provider), None if base is None else str(base)


def supported_params(model: str, provider: str) -> frozenset[str]:
    """Return the OpenAI parameters that LiteLLM can translate for `model`."""
    names: Sequence[str] | None = litellm.get_supported_openai_params(model=model, custom_llm_provider=provider)
    return frozenset(names or ())


def is_listed(key: str) -> bool:
    """Tell whether the price map has an entry of exactly this name."""
    return key in litellm.model_cost


def listed(key: str) -> Mapping[str, object]:
    """Return the price map's entry. Raises KeyError."""
    entry: Mapping[str, object] = litellm.model_cost[key]
    return entry


_EXCEPTION_OF: Final[Mapping[ErrorKind, Callable[..., Exception]]] = {
    "auth": litellm.exceptions.AuthenticationError,
    "not_found": litellm.exceptions.NotFoundError,
    "rate_limited": litellm.exceptions.RateLimitError,
    "timeout": litellm.exceptions.Timeout,
    "overloaded": litellm.exceptions.ServiceUnavailableError,
    "connect": litellm.exceptions.ServiceUnavailableError,
}
NO_DEPLOYMENT: Final[tuple[type[Exception], ...]] = (RouterRateLimitError, litellm.exceptions.BadRequestError)
"""What the Router raises when a group has nobody to offer."""
_KINDS: Final[tuple[tuple[type[Exception], ErrorKind], ...]] = (
    # Most specific first: many of these derive from BadRequestError.
    (litellm.exceptions.ContextWindowExceededError, "context_length"),
    (litellm.exceptions.ContentPolicyViolationError, "content_policy"),
    (litellm.exceptions.AuthenticationError, "auth"),
    (litellm.exceptions.PermissionDeniedError, "auth"),
    (litellm.exceptions.NotFoundError, "not_found"),
    (litellm.exceptions.RateLimitError, "rate_limited"),
    (litellm.exceptions.Timeout, "timeout"),
    (litellm.exceptions.ServiceUnavailableError, "overloaded"),
    (litellm.exceptions.APIResponseValidationError, "malformed"),
    (litellm.exceptions.BadRequestError, "bad_request"),
    (litellm.exceptions.UnprocessableEntityError, "bad_request"),
    (litellm.exceptions.InternalServerError, "server_error"),
)
CALL_ERRORS: Final[tuple[type[Exception], ...]] = (
    litellm.exceptions.openai.OpenAIError,  # the base of every exception that LiteLLM means to raise
    litellm.httpx.HTTPError,
    LookupError,  # and what its translations raise over answers and requests they do not expect
    TypeError,
    ValueError,
    AttributeError,
)
"""What a call by way of LiteLLM can end in."""


def kind_of(error: Exception) -> ErrorKind:
    """Return the kind of a call's error by its class. LiteLLM calls every surprise of its own an APIConnectionError;
    "malformed" are those behind which no HTTP error stands."""
    cause = error.__context__ if isinstance(error, litellm.exceptions.APIConnectionError) else error
    if isinstance(cause, litellm.httpx.HTTPError | litellm.exceptions.APIConnectionError):
        return "connect"
    if cause is not error:
        return "malformed"
    for known, kind in _KINDS:
        if isinstance(error, known):
            return kind
    return "server_error" if isinstance(error, litellm.exceptions.openai.OpenAIError) else "malformed"


def is_untranslatable(error: Exception) -> bool:
    """Tell whether LiteLLM itself refused a parameter that the provider has no word for."""
    return isinstance(error, litellm.exceptions.UnsupportedParamsError)


def text_of(error: Exception) -> str:
    """Return what LiteLLM says of an error; it often quotes the provider, sometimes the prompt."""
    return str(getattr(error, "message", None) or error)


def stream_in(answer: Dumpable | ChunkStream) -> ChunkStream | None:
    """Return a streamed answer as such, None for a whole one."""
    stream: ChunkStream | None = answer if isinstance(answer, CustomStreamWrapper) else None
    return stream


def document_in(answer: Dumpable | ChunkStream) -> Mapping[str, object]:
    """Return a whole answer as plain data. Raises TypeError for a stream."""
    if isinstance(answer, CustomStreamWrapper):
        raise TypeError("a stream has no document")
    document: Mapping[str, object] = answer.model_dump(exclude_none=True)
    return document


def is_finished(stream: ChunkStream) -> bool:
    """Tell whether the provider itself has ended the answer; LiteLLM adds a "stop" of its own where it has not.

    Its wrapper keeps the chunks it read, and the invented one is not among them.
    """
    return any(choice.finish_reason for chunk in stream.chunks[-4:] for choice in chunk.choices)
