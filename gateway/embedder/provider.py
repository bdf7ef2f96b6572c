"""A provider's embedding model as the embedder: its vectors come through the flow, are routed and booked as ever.

Knows no provider. Whoever the question is asked for is who pays: bind the caller with `for_caller`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import orjson

from gateway.cache.semantic.types import Embedded, EmbedderUnavailable, TooLong
from gateway.delivery import Reply
from gateway.errors import RequestFailed
from gateway.keys import Caller
from gateway.ports import Clock
from gateway.trail import Ask
from router.facts import BadRequest, DoorLimits, read_request
from router.usage import BYTES_PER_TOKEN

ENDPOINT = "embeddings"


class _Row(msgspec.Struct, frozen=True):
    embedding: list[float]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Row]
    usage: _Usage = _Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEmbedder:
    """An Embedder (gateway.cache.semantic.types) by a group of models.yaml with mode embedding.

    `run` is Flow.run; `window` counts tokens, which are estimated by bytes before the provider has counted them.
    """

    run: Callable[[Ask], Awaitable[Reply]]
    group: str
    dim: int
    window: int
    timeout_s: float
    clock: Clock
    limits: DoorLimits
    caller: Caller

    @property
    def id(self) -> str:
        """Name group and length: a group whose deployments hold different models has no comparable vectors."""
        return f"litellm-{self.group}-{self.dim}"

    def for_caller(self, caller: Caller) -> ProviderEmbedder:
        """Return the same embedder at another caller's cost."""
        return replace(self, caller=caller)

    async def embed(self, text: str) -> Embedded | TooLong:
        """Return the text's vector within `timeout_s`. Raises EmbedderUnavailable; a cancelled caller gives it up."""
        tokens = round(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)
        if tokens > self.window:
            return TooLong(tokens=tokens, window=self.window)
        try:
            async with asyncio.timeout(self.timeout_s):
                reply = await self.run(self._ask(text))
        except TimeoutError:
            raise EmbedderUnavailable(f"{self.group}: no vector within {self.timeout_s * 1000:g} ms") from None
        except (RequestFailed, BadRequest) as error:
            raise EmbedderUnavailable(f"{self.group}: {error}") from error
        return self._read(reply.body or b"", tokens)

    def _ask(self, text: str) -> Ask:
        body = orjson.dumps({"model": self.group, "input": text.encode(errors="replace").decode()})
        return Ask(
            request=read_request(body, dialect="embeddings", limits=self.limits),
            caller=replace(self.caller, allowed_models=None),  # the operator chose the model, not the caller
            request_id=f"embed-{uuid.uuid4().hex}",
            endpoint=ENDPOINT,
            received_s=self.clock.monotonic(),
            origin="cache",
            deadline_s=self.timeout_s,
        )

    def _read(self, body: bytes, estimate: int) -> Embedded:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError as error:
            raise EmbedderUnavailable(f"{self.group}: its answer is no list of vectors: {error}") from error
        if len(answer.data) != 1 or len(answer.data[0].embedding) != self.dim:
            found = [len(row.embedding) for row in answer.data]
            raise EmbedderUnavailable(f"{self.group}: vectors of {found} numbers came; one of {self.dim} was wanted")
        vector = np.array(answer.data[0].embedding, np.float32)
        size = float(np.linalg.norm(vector))
        if not np.isfinite(size) or size == 0:
            raise EmbedderUnavailable(f"{self.group}: its vector points nowhere")
        return Embedded(vector=vector / np.float32(size), tokens=answer.usage.prompt_tokens or estimate)
