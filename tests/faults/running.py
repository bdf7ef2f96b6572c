"""The real gateway process before two scripted providers of the test's own process, with every wait set short.

Short is for who is meant to be given up. A busy machine makes anybody late: who is to answer has more time than that.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import aiohttp

from tests.anthropic_provider import AnthropicProvider
from tests.e2e.serving import BOUND_S, Served, serving
from tests.nowhere import full_backlog
from tests.provider import Reply, ScriptedProvider

Asking = AbstractAsyncContextManager[aiohttp.ClientResponse]
Mode = Literal["stream", "whole"]
Backend = Literal["openai", "litellm"]
LETTERS: Mapping[Backend, str] = {"openai": "o", "litellm": "a"}
UPSTREAM: Mapping[Backend, str] = {"openai": "up", "litellm": "claude"}
CAP_S = 1.0
HASTE_S = 0.6
PATIENCE_S = 20
SETTINGS: Mapping[str, float] = {
    "connect-timeout-s": 0.5,
    "first-token-timeout-s": CAP_S,
    "first-token-floor-s": CAP_S / 3,
    "answer-timeout-s": CAP_S,
    "answer-floor-s": CAP_S / 3,
    "gap-timeout-s": 0.5,
    "drip-window-s": 0.5,
    "drip-bytes-per-s": 100,
    "tail-timeout-s": 0.3,
    "retry-patience-s": 0.2,
    "retry-backoff-s": 0.02,
    "breaker-open-s": 0.5,
    "breaker-max-open-s": 0.8,
    # A busy machine is no fault of Redis.
    "redis-timeout-s": 2,
    # Every request here meets a fault: the budget, which has tests of its own, would soon be spent.
    "retry-budget-per-s": 1000,
    "max-answer-bytes": 256 * 1024,
}
BACKUP_TEXT = "From the backup."
FALLBACKS = ("backup", "twin", "prefill", "narrow", "wide")
HASTY = ("silent", "headers-only", "dripping-whole")
"""What the names of models begin with that never answer in time: their own timeout says how soon they are given up."""
INFO = {
    "prefill": "max_input_tokens: 8192, supports_assistant_prefill: true",
    "backup": "max_input_tokens: 100000",
    "wide": "max_input_tokens: 100000",
}
ALONE = '  - {name: alone, match: {tag: "task=alone"}, candidates: [requested], deadline: 5s, on_cut: error}\n'
REST = "  - {name: rest, match: {any: true}, candidates: [requested], fallbacks: [o-backup], deadline: 60s}\n"
ROUTES: Mapping[str, str] = {
    "twin": "fallbacks: [L-twin]",
    "prefill": "fallbacks: [L-prefill]",
    "wide": "fallbacks: [L-narrow, L-wide]",
    "hold": "fallbacks: [L-twin], on_cut: hold",
    "assembled": "fallbacks: [L-twin], assemble: true",
}
"""How a route goes on after the model that was asked for; L is the letter of its backend's groups."""


def policy_text() -> str:
    """Return the policy: every route once for each backend, chosen by the tag `task`."""
    routes = [
        f'  - {{name: {name}-{letter}, match: {{tag: "task={name}-{letter}"}}, candidates: [requested], '
        f"{rest.replace('L-', letter + '-')}, deadline: 60s}}\n"
        for name, rest in ROUTES.items()
        for letter in LETTERS.values()
    ]
    return "version: 1\npolicy: default\nroutes:\n" + ALONE + "".join(routes) + REST


def fallback_of(route: str, backend: Backend) -> str:
    """Return the provider's name of the model that a route falls back to."""
    if not route:
        return "up-backup"
    return f"{UPSTREAM[backend]}-{'twin' if route in ('hold', 'assembled') else route}"


def models_file(names: Iterable[str], *, openai: str, anthropic: str, refused: str, full: str) -> str:
    """Return a model_list: a group `o-NAME` at the OpenAI-shaped provider, `a-NAME` at Anthropic's, for each name.

    Groups of their own, so that what one test breaks does not cool down another's. Nobody listens for `refused`, and
    nobody takes the connections of `unreachable`.
    """
    rows = []
    for name, base in (("refused", refused), ("unreachable", full)):
        rows.append((f"o-{name}", f'openai/up-{name}, api_base: "{base}"', INFO["wide"]))
        rows.append((f"a-{name}", f'anthropic/claude-{name}, api_base: "{base}"', INFO["wide"]))
    for name in (*FALLBACKS, *names):
        info = INFO.get(name, "max_input_tokens: 8192")
        limit = timeout_of(name)
        rows.append((f"o-{name}", f'openai/up-{name}, api_base: "{openai}"{limit}', info))
        rows.append((f"a-{name}", f'anthropic/claude-{name}, api_base: "{anthropic}"{limit}', info))
    listed = "".join(
        f"  - {{model_name: {group}, litellm_params: {{model: {model}, api_key: sk-provider-secret}}, "
        f"model_info: {{{info}}}}}\n"
        for group, model, info in rows
    )
    return "model_list:\n" + listed


def timeout_of(name: str) -> str:
    """Return the timeout that a model states, nothing where the gateway's own limits are to hold."""
    if name in FALLBACKS:
        return f", timeout: {PATIENCE_S}"
    return f", timeout: {HASTE_S}" if name.startswith(HASTY) else ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that a provider got; `hung_up` is set once the gateway has dropped it."""

    body: Mapping[str, Any]
    at_s: float
    hung_up: asyncio.Event

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def is_prefill(self) -> bool:
        return bool(self.body["messages"][-1]["role"] == "assistant")


@dataclass(slots=True, kw_only=True)
class Faulty:
    """The gateway process, a session with its key, and both providers."""

    served: Served
    session: aiohttp.ClientSession = field(repr=False)
    openai: ScriptedProvider
    anthropic: AnthropicProvider
    numbers: Iterator[int] = field(default_factory=count)

    def ask(self, model: str, *, stream: bool, headers: Mapping[str, str], **fields: object) -> Asking:
        """Send one chat request, new to the cache."""
        message = {"role": "user", "content": f"question {next(self.numbers)}"}
        body = {"model": model, "stream": stream, "messages": [message], **fields}
        if model.startswith("a-"):
            body["max_tokens"] = 100
        return self.session.post(self.served.url + "/v1/chat/completions", json=body, headers=headers)

    async def chat(
        self, model: str, *, stream: bool, route: str = "", deadline_s: float | None = None, **fields: object
    ) -> Got:
        """Ask, and read the answer to its end, however that comes."""
        headers = {"x-foreword-tags": f"task={route}"} if route else {}
        if deadline_s is not None:
            headers["x-foreword-deadline-ms"] = f"{1000 * deadline_s:.0f}"
        read, broke_off = b"", False
        async with asyncio.timeout(BOUND_S), self.ask(model, stream=stream, headers=headers, **fields) as answer:
            try:
                async for part in answer.content.iter_any():
                    read += part
            except (aiohttp.ClientError, OSError):
                broke_off = True
            return Got(status=answer.status, headers=answer.headers, body=read, broke_off=broke_off)

    def reset(self) -> None:
        """Forget what the providers were to say and were asked."""
        self.openai.reset()
        self.openai.always("up-backup", Reply(words=(BACKUP_TEXT,)))
        self.anthropic.forget()

    def asked(self, *models: str) -> list[Asked]:
        """Return the requests for these models (providers' names; all without one), each one's in order."""
        seen = [
            *(Asked(body=one.json(), at_s=one.at_s, hung_up=one.hung_up) for one in self.openai.requests),
            *(Asked(body=one.body, at_s=one.at_s, hung_up=one.hung_up) for one in self.anthropic.requests),
        ]
        return [one for one in seen if not models or one.model in models]

    @property
    def counts(self) -> dict[str, int]:
        """How often each model was asked for."""
        return dict(Counter(one.model for one in self.asked()))


@asynccontextmanager
async def faulty_gateway(names: Iterable[str], *, options: tuple[str, ...] = ()) -> AsyncIterator[Faulty]:
    """Start one gateway process with a pair of model groups for each name; stop it in the end."""
    settings = tuple(f"--{name}={value}" for name, value in SETTINGS.items())
    limits = ("--workers=1", *settings, *options)
    async with ScriptedProvider() as openai, AnthropicProvider() as anthropic, closed_port() as refused:
        with ExitStack() as stack:
            full = stack.enter_context(full_backlog())
            models = models_file(names, openai=openai.api_base, anthropic=anthropic.origin, refused=refused, full=full)
            served = await asyncio.to_thread(
                stack.enter_context, serving(policy=policy_text(), models=models, options=limits)
            )
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
