"""The shipped pipeline, asked of the simulated backend: every step fits, every quote is in the sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson

import gateway.pipelines
from gateway.clock import SystemClock
from gateway.pipelines.ports import StepAnswer, StepAsk
from gateway.pipelines.request import RunRequest
from gateway.pipelines.run import run_pipeline
from gateway.pipelines.spec import shipped_pipelines
from router.backends.simulated import SimulatedBackend
from router.types import Call, ChatRequest, Deployment, Whole

SAMPLE = (Path(next(iter(gateway.pipelines.__path__))) / "sample_debate.txt").read_text("utf-8")
DEBATE = shipped_pipelines()["debate"]


async def simulated(ask: StepAsk, *, on_first_token: Callable[[], None] | None = None) -> StepAnswer:
    body = orjson.dumps(ask.body)
    request = ChatRequest(
        dialect="chat",
        body=body,
        document=orjson.loads(body),
        requested_model=ask.model,
        stream=False,
        include_usage=False,
    )
    deployment = Deployment(
        id="d", group="m", provider="p", model="m", backend="simulated", api_base="", secret="", price=None
    )
    call = Call(request=request, deployment=deployment, stream=False, max_output_tokens=None, traceparent=None)
    answer = await SimulatedBackend(clock=SystemClock(), scale=0.0).send(call)
    assert isinstance(answer, Whole)
    if on_first_token is not None:
        on_first_token()
    return StepAnswer(content=orjson.loads(answer.body)["choices"][0]["message"]["content"], attempts=1)


async def test_the_simulated_answers_fit_and_quote_the_transcript() -> None:
    request = RunRequest(run_id="r", pipeline=DEBATE, transcript=SAMPLE, model="m", steps=("verdict",), deadline_s=30.0)
    report = await run_pipeline(request, ask=simulated, clock=SystemClock())
    assert report.status == "ok"
    assert sum(len(step.answers) for step in report.steps) == sum(step.segments for step in report.steps)
    results = {step.name: step.result or {} for step in report.steps}
    assert all((step.dropped_quotes, step.corrected_speakers) == (0, 0) for step in report.steps)
    fallacies = results["fallacy"]["fallacies"]
    assert isinstance(fallacies, list)
    assert {"ad_hominem", "false_cause", "slippery_slope", "straw_man"} <= {item["class"] for item in fallacies}
    assert all(SAMPLE[item["span"]["start"] : item["span"]["end"]] == item["quote"] for item in fallacies)
    assert results["analysis"]["topics"]
    assert results["verdict"]["key_quotes"]
