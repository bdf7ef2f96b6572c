"""Asks a step about one segment, checks the answer, repairs it once; knows nothing of the graph around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.pipelines.fit import Fits, Misfit, fit
from gateway.pipelines.ports import AskStep, SegmentRef, StepAnswer, StepAsk, StepError
from gateway.pipelines.prompt import Body, repair_body, step_bodies
from gateway.pipelines.quotes import Checked, check_quotes
from gateway.pipelines.request import RunRequest
from gateway.pipelines.segments import Segment
from gateway.pipelines.spec import Step
from gateway.pipelines.transcript import Transcript
from router.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A step's outcome on one segment. `answers` are its asks, none when it never got to ask; times are monotonic."""

    outcome: Checked | StepError
    answers: tuple[StepAnswer, ...]
    started_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One step on one segment. `after` is waited for first, `begun` is set once the answer begins or cannot come."""

    step: Step
    segment: Segment
    ref: SegmentRef
    needed: Mapping[str, object]
    after: asyncio.Event | None
    begun: asyncio.Event | None
    on_first_token: Callable[[], None]


class Asker:
    """Sends the asks of one run: the owner of its bound on asks at once and of its due time (monotonic seconds)."""

    def __init__(
        self, request: RunRequest, transcript: Transcript, *, ask: AskStep, clock: Clock, due_s: float
    ) -> None:
        self._request = request
        self._transcript = transcript
        self._ask = ask
        self._clock = clock
        self._due_s = due_s
        self._slots = asyncio.Semaphore(request.pipeline.max_parallel)

    async def piece(self, question: Question) -> Piece:
        """Return the outcome within the run's deadline; every failure is a value."""
        answers: list[StepAnswer] = []
        started_s = self._clock.monotonic()
        limit = asyncio.timeout(max(0.0, self._due_s - started_s))
        try:
            async with limit:
                # A follower must not hold a slot while it waits for its leader, or leaders find none.
                if question.after is not None:
                    await question.after.wait()
                async with self._slots:
                    started_s = self._clock.monotonic()
                    outcome = await self._checked(question, answers)
        except TimeoutError:
            if not limit.expired():
                raise
            outcome = _late(self._request.deadline_s)
        finally:
            if question.begun is not None:
                question.begun.set()
        return Piece(outcome=outcome, answers=tuple(answers), started_s=started_s, ended_s=self._clock.monotonic())

    async def _checked(self, question: Question, answers: list[StepAnswer]) -> Checked | StepError:
        step, segment, text = question.step, question.segment, self._transcript.text
        body, cache_body = step_bodies(
            self._request.pipeline,
            step,
            model=self._request.model_of(step),
            text=text,
            segment=segment,
            needed=question.needed,
        )
        found = await self._fitting(question, answers, body, cache_body)
        if isinstance(found, StepError):
            return found
        return check_quotes(
            found.result, fields=step.quotes, transcript=self._transcript, start=segment.start, end=segment.end
        )

    async def _fitting(
        self, question: Question, answers: list[StepAnswer], body: Body, cache_body: Body
    ) -> Fits | StepError:
        """Ask, and once more with what was wrong when the answer does not fit the schema."""
        for is_repair in (False, True):
            answer = await self._answer(question, body, cache_body, is_repair=is_repair)
            answers.append(answer)
            if isinstance(answer.content, StepError):
                return answer.content
            fitted = fit(answer.content, question.step.validator)
            if isinstance(fitted, Fits):
                return fitted
            if is_repair:
                return _misfit(question.step, fitted)
            body = repair_body(body, answer=answer.content, problems=fitted.problems)
            cache_body = repair_body(cache_body, answer=answer.content, problems=fitted.problems)
        raise AssertionError("unreachable: the second try returns")

    async def _answer(self, question: Question, body: Body, cache_body: Body, *, is_repair: bool) -> StepAnswer:
        def begin() -> None:
            if question.begun is not None:
                question.begun.set()
            question.on_first_token()

        pipeline, step = self._request.pipeline, question.step
        ask = StepAsk(
            pipeline=pipeline.name,
            pipeline_version=pipeline.key_version,
            step=step.name,
            model=self._request.model_of(step),
            body=body,
            cache_body=cache_body,
            cache_text=question.segment.key_text,
            tags=step.tags,
            parent_request_id=self._request.run_id,
            deadline_s=max(0.0, self._due_s - self._clock.monotonic()),
            segment=question.ref if step.segment is not None else None,
            is_repair=is_repair,
        )
        return await self._ask(ask, on_first_token=None if is_repair else begin)


def _late(deadline_s: float) -> StepError:
    return StepError(
        message=f"the pipeline's deadline of {deadline_s:g} s came first",
        type="timeout_error",
        code="deadline_exceeded",
        source="gateway",
    )


def _misfit(step: Step, misfit: Misfit) -> StepError:
    return StepError(
        message=f"the answer to step {step.name} does not fit its schema, twice: {misfit.problems}",
        type="pipeline_error",
        code="schema_mismatch",
        source="provider",
    )
