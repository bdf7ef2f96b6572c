"""What LiteLLM 1.106.2 hands us, as types of ours; only the parts that are used. Must not import LiteLLM."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
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


class CountCache(Protocol):
    """Where the Router counts what happened to its deployments."""

    def increment_cache(self, *, key: str, value: int, local_only: bool, ttl: int) -> object: ...


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
    cache: CountCache

    async def async_get_available_deployment(
        self, *, model: str, request_kwargs: dict[str, object], messages: list[dict[str, str]] | None = None
    ) -> Mapping[str, Mapping[str, object]]: ...

    async def acompletion(self, **arguments: object) -> object: ...

    async def aembedding(self, **arguments: object) -> object: ...

    def deployment_callback_on_failure(
        self, kwargs: Mapping[str, object], completion_response: None, start_time: None, end_time: None
    ) -> bool: ...

    def discard(self) -> None: ...


class HttpResponse(Protocol):
    """What a provider answered, `stream` its body; `aclose` drops the connection unless all of it was read."""

    status_code: int
    headers: Mapping[str, str]
    stream: AsyncIterable[bytes]

    async def aclose(self) -> None: ...


class HttpClient(Protocol):
    """LiteLLM's HTTP client; `client` is httpx's below it."""

    client: object

    async def close(self) -> None: ...
