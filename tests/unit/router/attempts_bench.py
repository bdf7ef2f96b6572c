"""An Attempts over a scripted provider, deployments as a table and a clock that stands still."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from policies.model import CacheRules, Catalogue, ModelCard, OnCut, Plan
from policies.prices import Price, Rates
from policies.rules import HedgeRules
from router.attempts import Attempts, Limits
from router.backends.openai_wire import OpenAIWire
from router.errors import AttemptsFailed, NoDeployment, ProviderError
from router.ports import Backend, BreakerHints
from router.types import AnswerEvent, AttemptRecord, Block, ChatRequest, Deployment, Finished, Priority
from tests.provider import ScriptedProvider

RATES = Rates(input=1_000_000, cached_input=500_000, cache_write=1_000_000, output=2_000_000, reasoning=2_000_000)
FAST = Limits(
    cold_first_token_s=0.25,
    last_first_token_s=0.25,
    cold_whole_s=0.25,
    last_whole_s=0.25,
    gap_s=0.25,
    tail_s=0.1,
)
CALM = Limits(
    cold_first_token_s=20.0,
    last_first_token_s=20.0,
    cold_whole_s=20.0,
    last_whole_s=20.0,
    gap_s=20.0,
    tail_s=20.0,
    drain_s=20.0,
)


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
                    takes_prefill=model.startswith("p"),
                )
                for model in models
            ]
            for group, models in groups.items()
        }
        self.reports: list[tuple[str, str]] = []
        self.cards: dict[str, ModelCard] = {}

    def catalogue(self) -> Catalogue:
        return self.cards

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
    """An Attempts over a scripted provider; group "a" has deployment a1, "b" b1, "two" t1 and t2, "pre" p1, which
    takes an assistant prefill. Runs with the same limits share one Attempts, and so what it has learnt."""

    def __init__(self, provider: ScriptedProvider, wire: OpenAIWire) -> None:
        self.provider = provider
        self.wire = wire
        self.clock = SteppedClock()
        self.table = Table(provider.api_base, {"a": ["a1"], "b": ["b1"], "two": ["t1", "t2"], "pre": ["p1"]})
        self.journal: list[AttemptRecord] = []
        self.hints: BreakerHints | None = None
        self._attempts: dict[Limits, Attempts] = {}

    def attempts(self, limits: Limits = CALM) -> Attempts:
        """Return the Attempts with these limits, the same one each time."""
        if limits not in self._attempts:
            backends: dict[str, Backend] = {"openai_wire": self.wire}
            rng = random.Random(7)
            self._attempts[limits] = Attempts(
                deployments=self.table, backends=backends, clock=self.clock, rng=rng, limits=limits, hints=self.hints
            )
        return self._attempts[limits]

    def run(
        self,
        *groups: str,
        limits: Limits = CALM,
        assemble: bool = False,
        on_cut: OnCut = "resume",
        deadline_s: float = 30.0,
        hedge: HedgeRules | None = None,
        priority: Priority = "interactive",
        **fields: object,
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
            deadline_s=deadline_s,
            max_output_tokens=None,
            assemble=assemble,
            cache=CacheRules(),
            reason="test",
            on_cut=on_cut,
            hedge=hedge,
        )
        return self.attempts(limits).run(request, plan, traceparent=None, journal=self.journal, priority=priority)

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
