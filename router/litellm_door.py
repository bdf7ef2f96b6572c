"""The one door to LiteLLM: quiet, without telemetry, dotenv files or network at import.

Must not import anything of ours but values, nor build a Router or an HTTP client at import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NoReturn

from router.litellm_http import Body, TooLarge, WholeBody, body_of, causes_of, connecting_within
from router.litellm_shapes import ChunkStream, Dumpable, HttpClient, HttpResponse, LiteLLMRouter

if TYPE_CHECKING:
    from policies.model import Dialect
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
from litellm.types.router import RouterRateLimitError

litellm.suppress_debug_info = True  # else it prints its provider list to stdout on errors
litellm.turn_off_message_logging = True
litellm.disable_streaming_logging = True
litellm.num_retries = None
# Else it ends a stream in which one chunk repeats 100 times; an answer is passed on as it is.
litellm.REPEATED_STREAMING_CHUNK_LIMIT = 2**31
litellm.request_timeout = 600.0
for _name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
    # CRITICAL, not ERROR: its error lines quote prompts and provider bodies. Every failure reaches us as an exception.
    logging.getLogger(_name).setLevel(logging.CRITICAL)


_RESPONSES: ContextVar[list[HttpResponse] | None] = ContextVar("litellm_responses", default=None)


def router(model_list: Sequence[Mapping[str, object]], *, cooldown_s: float) -> LiteLLMRouter:
    """Build a Router without retries, fallbacks, Redis, response cache and global callbacks.

    `discard` takes its callbacks out of LiteLLM's global lists: health is reported to it by `report_successes` and
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


def report_successes(target: LiteLLMRouter, deployment_id: str, count: int) -> None:
    """Count successes for the Router's failure share of this minute, as its own counting function does."""
    target.cache.increment_cache(key=f"{deployment_id}:successes", value=count, local_only=True, ttl=60)


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


class _Through(litellm.httpx.AsyncByteStream):  # type: ignore[misc]
    """A provider's body as `body` lets it through."""

    def __init__(self, stream: AsyncIterable[bytes], body: Body) -> None:
        self._stream = stream
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            if passed := self.body.feed(part):
                yield passed
        if rest := self.body.end():
            yield rest

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]  # httpx's streams all have it


def http_client(*, connect_s: float, read_s: float, max_bytes: int) -> HttpClient:
    """Return an HTTP client that follows no redirect: httpx would send `x-api-key` on to another host.

    A body of more than `max_bytes` is refused, unless it is a stream of events; of those, broken ones are left out.
    """

    async def bound(response: HttpResponse) -> None:
        response.stream = _Through(response.stream, body_of(response.headers, max_bytes))

    client: HttpClient = _OneTry(
        timeout=timeout(connect_s=connect_s, read_s=read_s),
        event_hooks={"request": [connecting_within(connect_s)], "response": [_remember, bound]},
        follow_redirects=False,
    )
    return client


def use_for_sdk(client: HttpClient | None) -> None:
    """Make the OpenAI SDK, by which LiteLLM calls some providers, use `client`'s connections and redirect rule.

    LiteLLM has one place for this in the whole process; None takes it back.
    """
    litellm.aclient_session = None if client is None else client.client


def takes_client(provider: str, dialect: Dialect) -> bool:
    """Tell whether LiteLLM takes an HTTP client of its own kind for this call; else it is the OpenAI SDK's."""
    return provider not in _SDK_CHAT and (dialect == "chat" or provider not in litellm.openai_compatible_providers)


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


def malformed_events(seen: Sequence[HttpResponse]) -> int:
    """Return how many events of these responses were left out so far, because they were no JSON."""
    return sum(one.stream.body.malformed_events for one in seen if isinstance(one.stream, _Through))


def short_body(seen: Sequence[HttpResponse]) -> bytes:
    """Return what the last response said if that was no stream, and short; else b""."""
    body = seen[-1].stream.body if seen and isinstance(seen[-1].stream, _Through) else None
    return body.short if isinstance(body, WholeBody) else b""


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
    """Tell whether the shipped price map has an entry of exactly this name."""
    return key in _LISTED


def listed(key: str) -> Mapping[str, object]:
    """Return the price map's entry. Raises KeyError."""
    entry: Mapping[str, object] = litellm.model_cost[key]
    return entry


# Names only, as they were shipped: every Router writes its deployments' models into the map.
_LISTED: Final[frozenset[str]] = frozenset(litellm.model_cost)
_SDK_CHAT: Final = frozenset({"azure", "azure_text", "custom_openai", "litellm_proxy", "text-completion-openai"})
_EXCEPTION_OF: Final[Mapping[ErrorKind, Callable[..., Exception]]] = {
    "auth": litellm.exceptions.AuthenticationError,
    "not_found": litellm.exceptions.NotFoundError,
    "rate_limited": litellm.exceptions.RateLimitError,
    "timeout": litellm.exceptions.Timeout,
    "overloaded": litellm.exceptions.ServiceUnavailableError,
    "connect": litellm.exceptions.ServiceUnavailableError,
    "unreachable": litellm.exceptions.Timeout,
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
    (litellm.exceptions.ServiceUnavailableError, "overloaded"),
    (litellm.exceptions.APIResponseValidationError, "malformed"),
    (litellm.exceptions.BadRequestError, "bad_request"),
    (litellm.exceptions.UnprocessableEntityError, "bad_request"),
    (litellm.exceptions.InternalServerError, "server_error"),
)
_BOTTOMS: Final[tuple[tuple[tuple[type[Exception], ...], ErrorKind], ...]] = (
    ((TooLarge,), "malformed"),
    ((litellm.httpx.ConnectTimeout, litellm.httpx.PoolTimeout), "unreachable"),
    ((litellm.httpx.TimeoutException, litellm.exceptions.Timeout), "timeout"),
    ((litellm.httpx.TransportError,), "connect"),
)
_OPENAI_ERROR: Final[type[Exception]] = litellm.exceptions.openai.OpenAIError
CALL_ERRORS: Final[tuple[type[Exception], ...]] = (
    _OPENAI_ERROR,  # the base of every exception that LiteLLM means to raise
    litellm.httpx.HTTPError,
    LookupError,  # and what its translations raise over answers and requests they do not expect
    TypeError,
    ValueError,
    AttributeError,
)
"""What a call by way of LiteLLM can end in."""


def kind_of(error: Exception) -> ErrorKind:
    """Return the kind of a call's error: by what lies at its bottom, else by its class, most specific first.

    LiteLLM calls every surprise of its own an APIConnectionError: without a broken connection below it is "malformed".
    """
    below = tuple(causes_of(error))
    for bottom, kind in _BOTTOMS:
        if any(isinstance(one, bottom) for one in below):
            return kind
    for known, kind in _KINDS:
        if isinstance(error, known):
            return kind
    is_surprise = isinstance(error, litellm.exceptions.APIConnectionError)
    return "server_error" if isinstance(error, _OPENAI_ERROR) and not is_surprise else "malformed"


def is_untranslatable(error: Exception) -> bool:
    """Tell whether LiteLLM itself refused a parameter that the provider has no word for."""
    return isinstance(error, litellm.exceptions.UnsupportedParamsError)


def text_of(error: Exception) -> str:
    """Return what LiteLLM says of an error; it often quotes the provider, sometimes the prompt."""
    return str(getattr(error, "message", None) or error)


def stream_in(answer: object) -> ChunkStream | None:
    """Return a streamed answer as such, None for a whole one."""
    stream: ChunkStream | None = answer if isinstance(answer, CustomStreamWrapper) else None
    return stream


def document_in(answer: object) -> Mapping[str, object]:
    """Return a whole answer as plain data. Raises TypeError for anything else."""
    if not isinstance(answer, Dumpable):
        raise TypeError(f"{type(answer).__name__} is no answer")
    return answer.model_dump(exclude_none=True)


def is_finished(stream: ChunkStream) -> bool:
    """Tell whether the provider itself has ended the answer; LiteLLM adds a "stop" of its own where it has not.

    Its wrapper keeps the chunks it read, and the invented one is not among them.
    """
    return any(choice.finish_reason for chunk in stream.chunks[-4:] for choice in chunk.choices)
