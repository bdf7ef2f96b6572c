"""A small pipeline and a scripted AskStep for the tests of this folder; answers what a test says, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.pipelines.ports import StepAnswer, StepAsk, StepError
from gateway.pipelines.request import RunRequest
from gateway.pipelines.spec import Pipeline, load_pipeline
from router.types import Usage

YAML = """
name: small
version: "7"
input: transcript
fanout: parallel
max_parallel: 8
deadline_s: 20
system: Analyse.
steps:
  - name: one
    tags: [task=one]
    quotes: [claims]
    segment: {min: 200, target: 400, max: 900}
    reduce: {claims: {rule: merge, by: [span]}, summary: {rule: join, separator: " "}}
    instruction: Task one.
    schema: &claims
      type: object
      required: [claims, summary]
      properties:
        claims: {type: array, items: {type: object, required: [speaker, quote]}}
        summary: {type: string}
  - name: two
    instruction: Task two.
    quotes: [claims]
    segment: {min: 200, target: 400, max: 900}
    reduce: {claims: {rule: merge, by: [span]}, summary: {rule: join}}
    schema: *claims
  - name: three
    optional: true
    needs: [one, two]
    instruction: Task three.
    schema: {type: object, required: [verdict], properties: {verdict: {type: string}}}
"""
TEXT = "ANN: Trams are quiet.\nBOB: Trams are loud.\n"
GOOD = '{"claims": [{"speaker": "ANN", "quote": "Trams are quiet."}], "summary": "ok"}'
VERDICT = '{"verdict": "even"}'
BROKEN = StepError(message="no", type="provider_error", code="overloaded", source="provider")


def pipeline(**changes: str) -> Pipeline:
    """Return the small pipeline with `old=new` text changes made."""
    text = YAML
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return load_pipeline(text, source="small.yaml")


def run_request(
    made: Pipeline | None = None,
    *,
    transcript: str = TEXT,
    steps: tuple[str, ...] | None = None,
    model_hints: Mapping[str, str] | None = None,
    deadline_s: float = 20.0,
) -> RunRequest:
    return RunRequest(
        run_id="run-1",
        pipeline=made or pipeline(),
        transcript=transcript,
        model="m",
        steps=steps,
        model_hints=model_hints or {},
        deadline_s=deadline_s,
    )


Reply = Callable[[StepAsk], str | StepError]


class Script:
    """Implements AskStep: `reply` says what each ask gets; `gates` hold a step's asks until they are set."""

    def __init__(self, reply: Reply, *, gates: Mapping[str, asyncio.Event] | None = None) -> None:
        self.asks: list[StepAsk] = []
        self.ended: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self._reply = reply
        self._gates = gates or {}
        self._news = asyncio.Event()
        self.first_tokens: dict[str, Callable[[], None]] = {}

    async def __call__(self, ask: StepAsk, *, on_first_token: Callable[[], None] | None = None) -> StepAnswer:
        self.asks.append(ask)
        self._news.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if on_first_token is not None:
            self.first_tokens[ask.step] = on_first_token
        try:
            gate = self._gates.get(ask.step)
            if gate is not None:
                await gate.wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.at_once -= 1
            self.ended.append(ask.step)
        content = self._reply(ask)
        usage = Usage(input_tokens=100, output_tokens=10, cached_tokens=4)
        return StepAnswer(content=content, usage=usage, cost_nanousd=1500, attempts=1, cache="miss", routed_model="m")

    async def until(self, asks: int) -> None:
        """Return once that many asks have come."""
        async with asyncio.timeout(30):
            while len(self.asks) < asks:
                self._news.clear()
                await self._news.wait()

    def steps(self) -> list[str]:
        return [ask.step for ask in self.asks]


def good(ask: StepAsk) -> str:
    return VERDICT if ask.step == "three" else GOOD
