"""The backend that needs no provider: honest, deterministic answers at a model's pace; it calls nobody.

Every answer says that it is simulated: `model` is `simulated/<model>` and free text begins with `[simulated]`.
Tokens are estimated (UTF-8 bytes / 4); `created` is 0, as the router knows no time of day. A prompt whose beginning was
read lately has cached tokens, where the model that is stood for has a price for them: that changes what it costs, not
how long it takes. A cheaper service tier is given where the model has a price for it, and is slower.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import orjson

from router.ports import Clock, Prefixes
from router.simulation import asked, vectors
from router.simulation.compose import Said, compose, input_tokens
from router.simulation.pace import Pace, pace_of
from router.simulation.prefix import blocks_of, cached_tokens, has_prefix_cache
from router.simulation.prefix_memory import PrefixMemory
from router.types import Call, Streamed, Whole

_TOKEN = re.compile(r"\s*\S{1,8}|\s+\Z")
_LONG_BODY = 16_384
_MAX_CHOICES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One chat call as it will be answered: what is said, how fast, at which tier, and what was read of it before."""

    call: Call
    said: Said
    pace: Pace
    tier: str
    blocks: tuple[str, ...]
    cached: int


class SimulatedBackend:
    """A row of backends/: answers from the request alone. Equal (seed, request body, deployment) give equal answers,
    but for the cached tokens: those are of what was read before.

    `scale` multiplies every wait; 0 answers at once. `prefixes` is where what was read is remembered.
    """

    def __init__(self, *, clock: Clock, seed: int = 0, scale: float = 1.0, prefixes: Prefixes | None = None) -> None:
        self._clock = clock
        self._seed = seed
        self._scale = scale
        self._prefixes = prefixes or PrefixMemory(clock)

    async def send(self, call: Call) -> Whole | Streamed:
        """Answer, waiting as the model that is stood for would; cancelling ends the wait. Raises nothing."""
        if call.request.dialect == "embeddings":
            return await self._embed(call)
        turn = await self._turn(call)
        if call.stream:
            return Streamed(chunks=self._stream(turn), headers={})
        due_s = self._clock.monotonic() + turn.pace.first_token_s
        await self._begin(turn, due_s)
        await self._wait_until(due_s + turn.said.output_tokens * turn.pace.token_gap_s)
        return _whole(_completion(turn))

    async def close(self) -> None:
        """Nothing is held open."""

    async def _turn(self, call: Call) -> _Turn:
        # Reading a long transcript takes milliseconds of CPU: off the loop.
        is_long = len(call.request.body) > _LONG_BODY
        said, blocks = await asyncio.to_thread(_read, call) if is_long else _read(call)
        found = await self._prefixes.known(_reader(call), blocks) if blocks else 0
        tier = asked.served_tier(call)
        return _Turn(
            call=call,
            said=said,
            pace=self._pace(call, tier),
            tier=tier,
            blocks=blocks,
            cached=cached_tokens(found, prompt_tokens=input_tokens(call.request.document)) if found else 0,
        )

    async def _begin(self, turn: _Turn, due_s: float) -> None:
        """Wait for the first token: only from then on others find the prompt read."""
        await self._wait_until(due_s)
        if turn.blocks:
            await self._prefixes.remember(_reader(turn.call), turn.blocks)

    def _pace(self, call: Call, tier: str = "") -> Pace:
        digest = hashlib.sha256(f"{self._seed}\n{call.deployment.id}\n".encode() + call.request.body).digest()
        return pace_of(call.deployment.model, rng=random.Random(digest), scale=self._scale, tier=tier)

    async def _wait_until(self, due_s: float) -> None:
        # Waiting for a due time, not for a span, keeps many small waits from adding up to a slower stream.
        delay_s = due_s - self._clock.monotonic()
        if self._scale > 0 and delay_s > 0:
            await self._clock.sleep(delay_s)

    async def _stream(self, turn: _Turn) -> AsyncIterator[bytes]:
        due_s = self._clock.monotonic() + turn.pace.first_token_s
        await self._begin(turn, due_s)
        for index in range(_choices(turn.call.request.document)):
            for delta in _deltas(turn.said):
                await self._wait_until(due_s)
                yield _event(turn, choices=[{"index": index, "delta": delta, "finish_reason": None}])
                due_s += turn.pace.token_gap_s
            yield _event(turn, choices=[{"index": index, "delta": {}, "finish_reason": turn.said.finish_reason}])
        yield _event(turn, choices=[], usage=_usage(turn))
        yield b"data: [DONE]\n\n"

    async def _embed(self, call: Call) -> Whole:
        document, model = call.request.document, call.deployment.model
        texts, size = vectors.inputs_of(document), vectors.dimensions_of(document, model=model)
        as_base64 = document.get("encoding_format") == "base64"

        def rows() -> list[dict[str, object]]:
            made = (vectors.vector_of(text, dimensions=size, seed=self._seed) for text in texts)
            return [
                {"object": "embedding", "index": at, "embedding": vectors.encoded(row) if as_base64 else row.tolist()}
                for at, row in enumerate(made)
            ]

        data = await asyncio.to_thread(rows)
        await self._wait_until(self._clock.monotonic() + self._pace(call).first_token_s)
        tokens = sum(map(asked.tokens_in, texts))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _whole({"object": "list", "data": data, "model": _model(call), "usage": usage})


def _choices(document: Mapping[str, object]) -> int:
    wanted = document.get("n")
    return min(wanted, _MAX_CHOICES) if isinstance(wanted, int) and wanted > 0 else 1


def _whole(answer: Mapping[str, object]) -> Whole:
    return Whole(body=orjson.dumps(answer), headers={})


def _model(call: Call) -> str:
    return f"simulated/{call.deployment.model}"


def _read(call: Call) -> tuple[Said, tuple[str, ...]]:
    return compose(call), blocks_of(call.request.document) if has_prefix_cache(call.deployment) else ()


def _reader(call: Call) -> str:
    return f"{call.deployment.provider}/{call.deployment.model}"


def _tier(turn: _Turn) -> dict[str, object]:
    is_asked = turn.call.service_tier or turn.call.request.document.get("service_tier")
    return {"service_tier": turn.tier or "default"} if is_asked else {}


def _answer_id(call: Call) -> str:
    return "chatcmpl-simulated-" + hashlib.sha256(call.request.body).hexdigest()[:16]


def _usage(turn: _Turn) -> dict[str, object]:
    document = turn.call.request.document
    prompt, output = input_tokens(document), turn.said.output_tokens * _choices(document)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": turn.cached},
    }


def _message(said: Said) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": said.text if said.function is None else None}
    if said.function is not None:
        called = {"name": said.function, "arguments": said.arguments}
        if said.finish_reason == "function_call":
            message["function_call"] = called
        else:
            message["tool_calls"] = [{"id": _call_id(said), "type": "function", "function": called}]
    return message


def _call_id(said: Said) -> str:
    return "call_" + hashlib.sha256(f"{said.function}\n{said.arguments}".encode()).hexdigest()[:24]


def _completion(turn: _Turn) -> dict[str, object]:
    said = turn.said
    return {
        "id": _answer_id(turn.call),
        "object": "chat.completion",
        "created": 0,
        "model": _model(turn.call),
        "choices": [
            {"index": index, "message": _message(said), "logprobs": None, "finish_reason": said.finish_reason}
            for index in range(_choices(turn.call.request.document))
        ],
        "usage": _usage(turn),
        **_tier(turn),
    }


def _deltas(said: Said) -> Iterator[dict[str, object]]:
    """Yield the deltas of one choice: the role first, then one per token or so."""
    if said.function is None:
        yield {"role": "assistant", "content": ""}
        for piece in _TOKEN.findall(said.text):
            yield {"content": piece}
        return
    legacy = said.finish_reason == "function_call"
    head = {"name": said.function, "arguments": ""}
    opening = {"index": 0, "id": _call_id(said), "type": "function", "function": head}
    yield {"role": "assistant", "content": None, **({"function_call": head} if legacy else {"tool_calls": [opening]})}
    for piece in _TOKEN.findall(said.arguments):
        part = {"arguments": piece}
        yield {"function_call": part} if legacy else {"tool_calls": [{"index": 0, "function": part}]}


def _event(turn: _Turn, *, choices: list[dict[str, object]], usage: dict[str, object] | None = None) -> bytes:
    chunk: dict[str, object] = {
        "id": _answer_id(turn.call),
        "object": "chat.completion.chunk",
        "created": 0,
        "model": _model(turn.call),
        "choices": choices,
        **_tier(turn),
    }
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
