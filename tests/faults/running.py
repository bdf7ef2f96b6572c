"""The real gateway process before two scripted providers of the test's own process, with every wait set to a blink."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.anthropic_provider import AnthropicProvider
from tests.e2e.serving import Served, serving
from tests.provider import ScriptedProvider

WAITS_S = {
    "first-token-timeout-s": 0.3,
    "answer-timeout-s": 0.3,
    "gap-timeout-s": 0.2,
    "tail-timeout-s": 0.1,
    "retry-patience-s": 0.2,
    "retry-backoff-s": 0.02,
    # A busy machine is no fault of Redis.
    "redis-timeout-s": 2,
    # Every request here meets a fault: the budget, which has tests of its own, would soon be spent.
    "retry-budget-per-s": 1000,
}
MAX_ANSWER_BYTES = 256 * 1024
POLICY = """
version: 1
policy: default
routes:
  - {name: alone, match: {tag: "task=alone"}, candidates: [requested], deadline: 5s, on_cut: error}
  - {name: fallback, match: {any: true}, candidates: [requested], fallbacks: [backup], deadline: 60s}
"""
BACKUP_TEXT = "From the backup."


def models_file(names: Iterable[str], *, openai: str, anthropic: str, nowhere: str) -> str:
    """Return a model_list: a group `o-NAME` at the OpenAI-shaped provider, `a-NAME` at Anthropic's, for each name.

    Groups of their own, so that what one test breaks does not cool down another's. `refused` has nobody listening.
    """
    rows = [
        f'{{model_name: o-{name}, litellm_params: {{model: openai/up-{name}, api_base: "{openai}"' for name in names
    ]
    rows += [
        f'{{model_name: a-{name}, litellm_params: {{model: anthropic/claude-haiku-4-5, api_base: "{anthropic}"'
        for name in names
    ]
    rows.append(f'{{model_name: refused, litellm_params: {{model: openai/up-refused, api_base: "{nowhere}"')
    rows.append(f'{{model_name: backup, litellm_params: {{model: openai/up-backup, api_base: "{openai}"')
    listed = "".join(f"  - {row}, api_key: sk-provider-secret}}}}\n" for row in rows)
    return "model_list:\n" + listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What the caller got, read to its end. `broke_off`: the connection ended before the answer did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broke_off: bool = False

    @property
    def events(self) -> list[str]:
        """The data of each server-sent event."""
        lines = self.body.decode().splitlines()
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    @property
    def is_stream(self) -> bool:
        return self.headers["Content-Type"].startswith("text/event-stream")

    @property
    def is_complete(self) -> bool:
        """Whether a client would take this for a whole answer."""
        if self.status != 200 or self.broke_off:
            return False
        return not self.is_stream or (self.events[-1:] == ["[DONE]"] and not self.error)

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """The answer's text, streamed or not."""
        if self.status != 200:
            return ""
        if not self.is_stream:
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        choices = [choice for document in self.documents for choice in document.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def error(self) -> dict[str, Any]:
        """The error in the body or in the last event, {} where there is none."""
        document = (self.documents or [{}])[-1] if self.is_stream else json.loads(self.body)
        error: dict[str, Any] = document.get("error", {})
        return error


@dataclass(slots=True, kw_only=True)
class Faulty:
    """The gateway process, a session with its key, and both providers."""

    served: Served
    session: aiohttp.ClientSession = field(repr=False)
    openai: ScriptedProvider
    anthropic: AnthropicProvider

    async def chat(self, model: str, *, stream: bool, text: str = "hi", route: str = "", **fields: object) -> Got:
        """Send one chat request and read the answer to its end, however that comes."""
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}], **fields}
        if model.startswith("a-"):
            body["max_tokens"] = 100
        headers = {"x-foreword-tags": f"task={route}"} if route else {}
        url, read, broke_off = self.served.url + "/v1/chat/completions", b"", False
        async with asyncio.timeout(20), self.session.post(url, json=body, headers=headers) as answer:
            try:
                async for part in answer.content.iter_any():
                    read += part
            except (aiohttp.ClientError, OSError):
                broke_off = True
            return Got(status=answer.status, headers=answer.headers, body=read, broke_off=broke_off)

    def asked(self, model: str) -> int:
        """Return how often a provider was asked for `model`, its own name for it."""
        return sum(seen.json().get("model") == model for seen in self.openai.requests)


@asynccontextmanager
async def faulty_gateway(names: Iterable[str], *, options: tuple[str, ...] = ()) -> AsyncIterator[Faulty]:
    """Start one gateway process with a pair of model groups for each name; stop it in the end."""
    waits = tuple(f"--{name}={seconds}" for name, seconds in WAITS_S.items())
    limits = ("--workers=1", f"--max-answer-bytes={MAX_ANSWER_BYTES}", *waits, *options)
    async with ScriptedProvider() as openai, AnthropicProvider() as anthropic, closed_port() as nowhere:
        models = models_file(names, openai=openai.api_base, anthropic=anthropic.origin, nowhere=nowhere)
        with ExitStack() as stack:
            served = await asyncio.to_thread(stack.enter_context, serving(policy=POLICY, models=models, options=limits))
            connector = aiohttp.TCPConnector(limit=0)  # else the 101st open stream would wait for the others
            named = {"Authorization": f"Bearer {served.key}"}
            async with aiohttp.ClientSession(headers=named, connector=connector) as session:
                yield Faulty(served=served, session=session, openai=openai, anthropic=anthropic)
            await asyncio.to_thread(stack.close)


@asynccontextmanager
async def closed_port() -> AsyncIterator[str]:
    """Yield an API base at which nobody listens."""
    async with ScriptedProvider() as provider:
        base = provider.api_base
    yield base
