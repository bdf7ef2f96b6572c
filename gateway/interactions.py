"""Pipeline runs for callers: which pipelines there are, a run through the flow, and its one user-origin Outcome.

A pipeline takes no place in any queue itself, only its steps do; knows no HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass

from gateway.cache.codec import usage_object
from gateway.cache.semantic.scope import attachment_hash
from gateway.errors import from_bad_request, http_failure
from gateway.flow import Flow
from gateway.keys import Caller
from gateway.outcome import CacheStatus, Outcome
from gateway.pipelines.events import RunEvents
from gateway.pipelines.markdown import chat_content
from gateway.pipelines.ports import StepAnswer
from gateway.pipelines.report import PipelineReport
from gateway.pipelines.request import BadRunRequest, RunRequest, answer_form, read_chat_run, read_run
from gateway.pipelines.run import run_pipeline
from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX, Pipeline
from gateway.ports import Clock
from gateway.posted import Posted
from gateway.retained.keeper import Keeper
from gateway.retained.runs import kept_run, left_s, run_key, warmed_by
from gateway.steps import FlowSteps
from policies.model import Catalogue
from router.facts import BadRequest, DoorLimits
from router.types import Usage
from router.usage import BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One run about to happen. Exactly one of `whole` and `running` is to be used, once."""

    request: RunRequest
    steps: FlowSteps
    posted: Posted
    owner: Interactions
    is_chat: bool

    @property
    def key(self) -> str:
        """The digest by which the run can be wanted again."""
        posted = self.posted
        namespace = posted.cache_control.namespace
        return run_key(self.request, tenant=posted.caller.tenant, namespace=namespace, transcript=self.steps.transcript)

    async def whole(self) -> PipelineReport:
        """Run to the end. On cancel the caller has left: every ask is given up and the Outcome says so."""
        report: PipelineReport | None = None
        try:
            report = await run_pipeline(self.request, ask=self.steps, clock=self.steps.clock)
        finally:
            self.owner.close(self, report)
        return report

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunEvents]:
        """Run while the block lasts; iterate `events` of what it yields. Leaving early: the client has left."""
        run = RunEvents(self.request, ask=self.steps, clock=self.steps.clock)
        try:
            async with run:
                yield run
        finally:
            self.owner.close(self, run.report)

    def chat_body(self, report: PipelineReport) -> dict[str, object]:
        """Return the result as a chat completion, for bots that can only change their base URL."""
        usage = _usage([answer for step in report.steps for answer in step.answers])
        content = chat_content(report, answer_form(self.posted.document))
        return {
            "id": report.run_id,
            "object": "chat.completion",
            "created": int(self.owner.clock.now()),
            "model": PIPELINE_MODEL_PREFIX + report.pipeline,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": usage_object(usage),
        }


class Interactions:
    """See the module. Holds the pipelines that ship and what a run needs; no state of a run."""

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        *,
        flow: Flow,
        catalogue: Callable[[], Catalogue],
        limits: DoorLimits,
        clock: Clock,
        sink: Callable[[Outcome], None],
        keeper: Keeper,
    ) -> None:
        self._pipelines = pipelines
        self._keeper = keeper
        self._flow = flow
        self._catalogue = catalogue
        self._limits = limits
        self._sink = sink
        self.clock = clock

    def through(self, flow: Flow) -> Interactions:
        """Return the same, with steps that are asked through another flow."""
        other = copy(self)
        other._flow = flow
        return other

    def names(self) -> tuple[str, ...]:
        """Return the pipelines' names, sorted."""
        return tuple(sorted(self._pipelines))

    def open(self, name: str, posted: Posted, *, is_chat: bool) -> Interaction:
        """Check a posted run. Raises RequestFailed: 404 no such pipeline, 403 not this key's, 400 naming the field."""
        pipeline = self._pipeline(name, posted.caller, is_chat=is_chat)
        read = read_chat_run if is_chat else read_run
        try:
            if is_chat:
                answer_form(posted.document)
            request = read(
                posted.document,
                pipeline,
                run_id=posted.request_id,
                default_model=default_model(self._catalogue(), posted.caller.allowed_models),
                deadline_s=posted.deadline_s,
            )
        except BadRunRequest as wrong:
            raise from_bad_request(BadRequest(wrong.message, param=wrong.param)) from None
        return Interaction(
            request=request, steps=self._steps(posted, request.transcript), posted=posted, owner=self, is_chat=is_chat
        )

    def _pipeline(self, name: str, caller: Caller, *, is_chat: bool) -> Pipeline:
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            known = ", ".join(self.names())
            raise http_failure(
                404,
                f"there is no pipeline {name[:64]!r}; there are: {known}",
                code="model_not_found",
                param="model" if is_chat else None,
            )
        model = PIPELINE_MODEL_PREFIX + name
        if caller.allowed_models is not None and model not in caller.allowed_models:
            raise http_failure(403, f"this key may not use {model}", code="model_not_allowed", param="model")
        return pipeline

    def _steps(self, posted: Posted, transcript: str) -> FlowSteps:
        return FlowSteps(
            flow=self._flow,
            clock=self.clock,
            limits=self._limits,
            caller=posted.caller,
            session=posted.session,
            tags=posted.tags,
            cache_control=posted.cache_control,
            traceparent=posted.traceparent,
            transcript=attachment_hash(transcript),
            warming=posted.warming,
        )

    def close(self, interaction: Interaction, report: PipelineReport | None) -> None:
        """Tell of the run: one interaction, however many calls it took. A run without a report was left."""
        posted, run = interaction.posted, interaction.request
        total_s = self.clock.monotonic() - posted.received_s
        answers = [answer for step in report.steps for answer in step.answers] if report else []
        has_failed = report is not None and report.status == "failed"
        if report is not None and report.status == "ok":
            self._keep(interaction, answers, total_s)
        self._sink(
            Outcome(
                request_id=posted.request_id,
                origin="user" if posted.warming is None else "warmer",
                endpoint="pipeline",
                started_at=self.clock.now() - total_s,
                result="cancelled" if report is None else "error" if has_failed else "ok",
                status=_status(interaction, report),
                tenant=posted.caller.tenant,
                key_id=posted.caller.key_id,
                session=posted.session,
                reason=report.status if report else "",
                tags=tuple(sorted(posted.tags)),
                requested_model=PIPELINE_MODEL_PREFIX + run.pipeline.name,
                is_simulated=any(answer.is_simulated for answer in answers),
                stream=run.stream,
                cache=_cache(answers),
                cache_key=interaction.key,
                age_s=max((answer.age_s for answer in answers), default=0.0),
                ttl_s=min((answer.ttl_s for answer in answers), default=0.0),
                warmed_by=warmed_by(answers) if posted.warming is None else posted.warming.predictor,
                input_tokens_estimate=(len(run.transcript) + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN,
                saved_nanousd=0,
                interaction_cost_nanousd=0 if posted.warming else sum(answer.cost_nanousd or 0 for answer in answers),
                error_code="pipeline_failed" if has_failed else "",
                error_type="pipeline_error" if has_failed else "",
                error_source="gateway" if has_failed else "",
                total_s=total_s,
                first_token_s=min((a.first_token_s for a in answers if a.first_token_s is not None), default=None),
                overhead_s=max(0.0, total_s - (report.wall_s if report else total_s)),
            )
        )

    def _keep(self, interaction: Interaction, answers: Sequence[StepAnswer], total_s: float) -> None:
        """Keep what was posted beside its steps' answers, where the warmer may post it again."""
        posted, transcript = interaction.posted, interaction.steps.transcript
        if posted.cache_control.no_store:
            return
        kept = kept_run(posted, interaction.request, answers, transcript=transcript, total_s=total_s)
        if kept is not None:
            self._keeper.write(interaction.key, kept, ttl_s=left_s(answers))


def _status(interaction: Interaction, report: PipelineReport | None) -> int:
    """Return what the client was told: only a whole chat answer can still become an error when every step failed."""
    if report is None:
        return 499
    is_error = report.status == "failed" and interaction.is_chat and not interaction.request.stream
    return 502 if is_error else 200


def default_model(catalogue: Catalogue, allowed: frozenset[str] | None) -> str:
    """Return the cheapest chat group with structured output that the key may use, for runs that name no model."""
    usable = [
        (card.price.base.input + card.price.base.output, name)
        for name, card in catalogue.items()
        if card.mode == "chat" and card.price is not None and "json_schema" in card.capabilities
        if allowed is None or name in allowed
    ]
    if usable:
        return min(usable)[1]
    others = sorted(
        name for name, card in catalogue.items() if card.mode == "chat" and (allowed is None or name in allowed)
    )
    return others[0] if others else "none"


def _usage(answers: Sequence[StepAnswer]) -> Usage:
    return Usage(
        input_tokens=sum(a.usage.input_tokens for a in answers),
        output_tokens=sum(a.usage.output_tokens for a in answers),
        cached_tokens=sum(a.usage.cached_tokens for a in answers),
        reasoning_tokens=sum(a.usage.reasoning_tokens for a in answers),
        is_estimated=any(a.usage.is_estimated for a in answers),
    )


def _cache(answers: Sequence[StepAnswer]) -> CacheStatus:
    """A run is a hit only if every one of its asks was; its own tiers are counted by its steps' Outcomes."""
    found = {answer.cache for answer in answers}
    if found and found <= {"hit", "joined"}:
        return "joined" if "joined" in found else "hit"
    return "miss" if "miss" in found else "bypass"
