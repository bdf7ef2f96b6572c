"""Runs a pipeline's steps as a graph and reports how each went; knows no HTTP, no cache and no provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.pipelines.asking import Asker, Piece, Question
from gateway.pipelines.graph import Node, Rules, run_graph
from gateway.pipelines.ports import AskStep, SegmentRef, StepError
from gateway.pipelines.prompt import without_spans
from gateway.pipelines.quotes import Checked
from gateway.pipelines.reduce import reduced
from gateway.pipelines.report import PipelineReport, StepReport, status_of
from gateway.pipelines.request import RunRequest
from gateway.pipelines.segments import Segment, cut, whole
from gateway.pipelines.spec import Step
from gateway.pipelines.transcript import Transcript, parse_transcript
from router.ports import Clock

Emit = Callable[[str, dict[str, object]], None]
"""Takes (event name, data): step.started, step.delta, step.completed, pipeline.completed. Must not block."""


def no_events(name: str, data: dict[str, object]) -> None:
    """Drop the event."""


async def run_pipeline(request: RunRequest, *, ask: AskStep, clock: Clock, emit: Emit = no_events) -> PipelineReport:
    """Run the asked steps within the request's deadline and return what became of each.

    Steps and segments that are late report `deadline_exceeded` while the others' results stand: that is why the
    deadline is owned here and not by the caller. Cancelling gives up every ask.
    """
    started_s = clock.monotonic()
    steps = request.pipeline.selection(request.steps)
    # Reading a long transcript takes milliseconds of CPU: off the loop.
    prepared = await asyncio.to_thread(_prepare, request.transcript, steps)
    due_s = started_s + request.deadline_s
    asker = Asker(request, prepared.transcript, ask=ask, clock=clock, due_s=due_s)
    running = _Running(asker, prepared, leader=_leader(request, steps), emit=emit)
    nodes = [Node(name=step.name, needs=step.needs, required=step.required, run=running.work(step)) for step in steps]
    reports = await run_graph(nodes, Rules(has_failed=_has_failed, skipped=_skipped, given_up=_given_up))
    report = PipelineReport(
        run_id=request.run_id,
        pipeline=request.pipeline.name,
        version=request.pipeline.version,
        status=status_of([*reports.values()], required=frozenset(step.name for step in steps if step.required)),
        steps=tuple(reports.values()),
        wall_s=clock.monotonic() - started_s,
    )
    emit("pipeline.completed", report.as_json())
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    transcript: Transcript
    segments: Mapping[str, tuple[Segment, ...]]


def _prepare(text: str, steps: Sequence[Step]) -> _Prepared:
    transcript = parse_transcript(text)
    segments: dict[str, tuple[Segment, ...]] = {}
    for step in steps:
        cuts = (whole(transcript),) if step.segment is None else cut(transcript, step.segment.sizes)
        segments[step.name] = tuple(segment for segment in cuts if segment.key_text)
    return _Prepared(transcript=transcript, segments=segments)


def _leader(request: RunRequest, steps: Sequence[Step]) -> str | None:
    """Return the step whose answers the others wait to see begin: the first that needs nothing."""
    if request.pipeline.fanout == "parallel":
        return None
    return next((step.name for step in steps if not step.needs), None)


class _Running:
    """One run's steps: the owner of the events that tell followers that their leader's answer has begun."""

    def __init__(self, asker: Asker, prepared: _Prepared, *, leader: str | None, emit: Emit) -> None:
        self._asker = asker
        self._prepared = prepared
        self._leader = leader
        self._emit = emit
        led = prepared.segments[leader] if leader is not None else ()
        # By what is read, not by number: only an ask with the same prefix gains from waiting.
        self._begun = {(segment.start, segment.end): asyncio.Event() for segment in led}

    def work(self, step: Step) -> Callable[[Mapping[str, StepReport]], Awaitable[StepReport]]:
        """Return the step as a graph's work."""

        async def run(needed: Mapping[str, StepReport]) -> StepReport:
            return await self._step(step, needed)

        return run

    async def _step(self, step: Step, needed: Mapping[str, StepReport]) -> StepReport:
        segments = self._prepared.segments[step.name]
        self._emit("step.started", {"step": step.name, "segments": len(segments)})
        results = {name: without_spans(report.result) for name, report in needed.items()}
        questions = [self._question(step, at, segments, results) for at in range(len(segments))]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._piece(question)) for question in questions]
        report = _report(step, [task.result() for task in tasks])
        self._emit("step.completed", {"step": step.name, **report.as_json()})
        return report

    def _question(self, step: Step, at: int, segments: Sequence[Segment], results: Mapping[str, object]) -> Question:
        segment, count = segments[at], len(segments)
        begun = self._begun.get((segment.start, segment.end))
        is_leader = step.name == self._leader
        where: dict[str, object] = {"step": step.name, "segment": at, "segments": count}

        def first_token() -> None:
            self._emit("step.delta", {**where, "stage": "first_token"})

        return Question(
            step=step,
            segment=segment,
            ref=SegmentRef(index=at, count=count, start=segment.start, end=segment.end),
            needed=results,
            after=None if is_leader else begun,
            begun=begun if is_leader else None,
            on_first_token=first_token,
        )

    async def _piece(self, question: Question) -> Piece:
        piece = await self._asker.piece(question)
        # One segment's result is the step's: step.completed brings it. Deltas never hold unchecked quotes.
        if question.ref.count > 1 and isinstance(piece.outcome, Checked):
            where = {"step": question.step.name, "segment": question.ref.index, "segments": question.ref.count}
            self._emit("step.delta", {**where, "stage": "segment", "result": piece.outcome.result})
        return piece


def _report(step: Step, pieces: Sequence[Piece]) -> StepReport:
    good = [piece.outcome for piece in pieces if isinstance(piece.outcome, Checked)]
    errors = [piece.outcome for piece in pieces if isinstance(piece.outcome, StepError)]
    return StepReport(
        name=step.name,
        status="failed" if not good else "partial" if errors else "ok",
        result=reduced([each.result for each in good], step.reduce) if good else None,
        error=errors[0] if errors else None,
        answers=tuple(answer for piece in pieces for answer in piece.answers),
        segments=len(pieces),
        failed_segments=len(errors),
        wall_s=max(piece.ended_s for piece in pieces) - min(piece.started_s for piece in pieces),
        dropped_quotes=sum(each.dropped_quotes for each in good),
        corrected_speakers=sum(each.corrected_speakers for each in good),
    )


def _has_failed(report: StepReport) -> bool:
    return report.has_failed


def _skipped(name: str, failed: Sequence[str]) -> StepReport:
    message = f"not run: it needs {', '.join(failed)}, which failed"
    error = StepError(message=message, type="pipeline_error", code="needs_failed", source="gateway")
    return StepReport(name=name, status="skipped", error=error)


def _given_up(name: str, because: str) -> StepReport:
    message = f"given up: the required step {because} failed"
    error = StepError(message=message, type="pipeline_error", code="required_step_failed", source="gateway")
    return StepReport(name=name, status="cancelled", error=error)
