"""Requests, deployments and provider answers, as values.

The wire bytes are the value: nothing here decodes an answer, and a request is decoded once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from policies.model import Dialect
from policies.prices import Price

Priority = Literal["interactive", "hedge", "refresh", "warm"]
SHED_ORDER: tuple[Priority, ...] = ("warm", "refresh", "hedge", "interactive")
"""Who is sent away first where there is no room."""

Reason = Literal["first", "retry", "fallback", "resume", "hedge", "cascade"]
"""Why an attempt was made."""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat or embeddings request: the client's bytes beside the few fields that the gateway reads.

    `document` is `body` decoded once, to be read and never changed. `stream` and `include_usage` say what the client
    asked for; the call to the provider may differ (see Call).
    """

    dialect: Dialect
    body: bytes
    document: Mapping[str, object]
    requested_model: str
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One place that serves a model group. `secret` is the provider key: it never appears in repr, logs or errors.

    `model` is the provider's own name for the model; `api_base` has no trailing slash; `id` is the LiteLLM Router's.
    `backend` is a row of backends/. `latency` and friends live elsewhere: this value never changes. `is_reasoning`:
    it thinks before its first token; `takes_prefill`: it continues an assistant message that ends the conversation.
    `timeout_s`, `stream_timeout_s`: how long its entry lets a whole answer and a first token take, None if not at all.
    """

    id: str
    group: str
    provider: str
    model: str
    backend: Literal["openai_wire", "litellm", "simulated"]
    api_base: str
    secret: str = field(repr=False)
    price: Price | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_reasoning: bool = False
    takes_prefill: bool = False
    timeout_s: float | None = None
    stream_timeout_s: float | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One provider call: what to send where. `stream` says how the provider is asked, whatever the client wants.

    `service_tier` is asked for unless the client asks for one itself.
    """

    request: ChatRequest
    deployment: Deployment
    stream: bool
    max_output_tokens: int | None
    traceparent: str | None
    service_tier: str = ""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer body (JSON, undecoded) with the provider's forwardable headers."""

    body: bytes
    headers: Mapping[str, str]


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that arrives as server-sent events: `chunks` are raw wire bytes, cut anywhere.

    Close `chunks` with contextlib.aclosing: closing it early drops the provider's connection.
    """

    chunks: AsyncIterator[bytes]
    headers: Mapping[str, str]


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens of one answer. `input_tokens` includes cached and cache-write tokens, `output_tokens` includes reasoning.

    `is_estimated`: the provider did not say, the figures were derived from what was seen. `service_tier` is what the
    answer says it was served at, "" for the standard one.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimated: bool = False
    service_tier: str = ""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one attempt went. `reason` says why it was made; times are seconds since the request's first attempt.

    `usage` is what it is charged for, None where it produced nothing; `cost_nanousd` is None where no price is known.
    """

    deployment_id: str
    group: str
    provider: str
    model: str
    reason: Reason
    started_s: float
    ended_s: float
    result: Literal["ok", "error", "cancelled"]
    error_code: str | None = None
    status: int | None = None
    usage: Usage | None = None
    cost_nanousd: int | None = 0


class Opened(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The first event of a streamed answer: who answers. Nothing has been sent to the client before it.

    `attempts` are those that ended before this one; `first_token_s` is seconds since the request's first attempt.
    """

    deployment: Deployment
    attempts: tuple[AttemptRecord, ...]
    first_token_s: float = 0.0
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Block(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One or more complete server-sent events as wire bytes, each ending in a blank line; never `[DONE]`, never usage
    only (the usage event travels in Finished)."""

    data: bytes


class Finished(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last event of a complete answer. `body` is the JSON body of an unstreamed answer, None after blocks.

    `usage_event` is the provider's own usage event of a stream (wire bytes), sent on to clients that asked for it.
    `finish_reasons` holds one reason per choice; empty for embeddings. `deployment` and `response_model` name who
    finished; `usage` and `cost_nanousd` are the sums over every attempt that produced anything (each AttemptRecord has
    its own). `malformed_events` of the stream were left out.
    """

    deployment: Deployment
    attempts: tuple[AttemptRecord, ...]
    body: bytes | None
    usage: Usage
    cost_nanousd: int | None
    response_model: str
    finish_reasons: tuple[str, ...]
    usage_event: bytes | None = None
    first_token_s: float | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    malformed_events: int = 0


AnswerEvent = Opened | Block | Finished
