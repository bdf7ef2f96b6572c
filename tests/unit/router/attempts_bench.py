"""An Attempts over a scripted provider, deployments as a table and a clock that stands still."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from policies.model import CacheRules, Catalogue, Plan, Price, Rates
from router.attempts import Attempts, Limits
from router.backends.openai_wire import OpenAIWire
from router.errors import AttemptsFailed, NoDeployment, ProviderError
from router.ports import Backend
from router.types import AnswerEvent, AttemptRecord, Block, ChatRequest, Deployment, Finished
from tests.provider import ScriptedProvider

RATES = Rates(input=1_000_000, cached_input=500_000, cache_write=1_000_000, output=2_000_000, reasoning=2_000_000)
FAST = Limits(first_token_s=0.1, whole_s=0.1, last_whole_s=0.1, gap_s=0.1, tail_s=0.1, patience_s=2.0, backoff_s=0.25)
CALM = Limits(first_token_s=20.0, whole_s=20.0, last_whole_s=20.0, gap_s=20.0, tail_s=20.0, drain_s=20.0)


class Table:
    """Deployments as a plain table, with a book of what was reported."""

    def __init__(self, api_base: str, groups: dict[str, list[str]]) -> None:
        self._groups = {
            group: [
                Deployment(
                    id=model,
                    group=group,
                    provider="scripted",
                    model=model,
                    backend="openai_wire",
                    api_base=api_base,
                    secret="sk-secret-of-" + model,
                    price=Price(base=RATES),
                )
                for model in models
            ]
            for group, models in groups.items()
        }
        self.reports: list[tuple[str, str]] = []

    def catalogue(self) -> Catalogue:
        return {}

    async def pick(self, group: str, request: ChatRequest, *, exclude: frozenset[str] = frozenset()) -> Deployment:
        for deployment in self._groups.get(group, []):
            if deployment.id not in exclude:
                return deployment
        raise NoDeployment(group, retry_after_s=3.0)

    def succeeded(self, deployment: Deployment) -> None:
        self.reports.append((deployment.id, "ok"))

    def failed(self, deployment: Deployment, error: ProviderError) -> None:
        self.reports.append((deployment.id, error.kind))


class SteppedClock:
    """Stands still until somebody sleeps, which takes no time."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self.now_s += delay_s


class Bench:
    """An Attempts over a scripted provider; group "a" has deployment a1, "b" b1, "two" t1 and t2."""

    def __init__(self, provider: ScriptedProvider, wire: OpenAIWire) -> None:
        self.provider = provider
        self.wire = wire
        self.clock = SteppedClock()
        self.table = Table(provider.api_base, {"a": ["a1"], "b": ["b1"], "two": ["t1", "t2"]})
        self.journal: list[AttemptRecord] = []

    def run(
        self, *groups: str, limits: Limits = CALM, assemble: bool = False, **fields: object
    ) -> AsyncGenerator[AnswerEvent, None]:
        document: dict[str, object] = {"model": "any", "messages": [{"role": "user", "content": "hi"}], **fields}
        request = ChatRequest(
            dialect="chat",
            body=json.dumps(document).encode(),
            document=document,
            requested_model="any",
            stream=document.get("stream") is True,
            include_usage=False,
        )
        plan = Plan(
            policy="p",
            policy_version="v",
            route="r",
            candidates=groups,
            deadline_s=30.0,
            max_output_tokens=None,
            assemble=assemble,
            cache=CacheRules(),
            reason="test",
        )
        backends: dict[str, Backend] = {"openai_wire": self.wire}
        attempts = Attempts(
            deployments=self.table, backends=backends, clock=self.clock, rng=random.Random(7), limits=limits
        )
        return attempts.run(request, plan, traceparent=None, journal=self.journal)

    def tried(self) -> list[tuple[str, str, str]]:
        return [(record.deployment_id, record.reason, record.error_code or record.result) for record in self.journal]


async def collect(events: AsyncIterator[AnswerEvent], seen: list[AnswerEvent] | None = None) -> list[AnswerEvent]:
    seen = [] if seen is None else seen  # what came before a failure counts too
    async for event in events:
        seen.append(event)
    return seen


async def answer(events: AsyncIterator[AnswerEvent]) -> Finished:
    last = (await collect(events))[-1]
    assert isinstance(last, Finished)
    return last


async def failure(events: AsyncIterator[AnswerEvent]) -> AttemptsFailed:
    with pytest.raises(AttemptsFailed) as caught:
        await collect(events)
    return caught.value


def text_of(events: list[AnswerEvent]) -> str:
    wire = b"".join(event.data for event in events if isinstance(event, Block))
    documents = [json.loads(event.removeprefix(b"data: ")) for event in wire.split(b"\n\n") if event]
    return "".join(choice["delta"].get("content", "") for said in documents for choice in said["choices"])
