"""Pipeline steps through the one path: a StepAsk becomes an Ask for Flow, its reply or failure a StepAnswer value.

Knows no pipeline; decides nothing about caching beyond naming what a step asks (cache.md tier 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from gateway.delivery import Reply
from gateway.errors import RequestFailed, from_bad_request
from gateway.flow import Flow
from gateway.keys import Caller
from gateway.part import Part
from gateway.pipelines.ports import StepAnswer, StepAsk, StepError
from gateway.ports import Clock
from gateway.purse import Warming
from gateway.retained.bound import size_for
from gateway.retained.keepable import retains
from gateway.trail import Ask, CacheControl, Trail
from router.facts import BadRequest, DoorLimits, read_request


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSteps:
    """Asks on behalf of one pipeline run; implements gateway.pipelines.ports.AskStep.

    `transcript` is the SHA-256 of its text; `warming` is set where the warmer runs the pipeline.
    """

    flow: Flow
    clock: Clock
    limits: DoorLimits
    caller: Caller
    session: str
    tags: frozenset[str]
    cache_control: CacheControl
    traceparent: str | None
    transcript: str = ""
    warming: Warming | None = None

    async def __call__(self, ask: StepAsk, *, on_first_token: Callable[[], None] | None = None) -> StepAnswer:
        """Answer one step; every failure of the request is a value. Cancel gives up the answer."""
        started_s = self.clock.monotonic()
        try:
            reply = await self.flow.run(self.ask_of(ask, started_s, on_first_token))
        except RequestFailed as failure:
            return self._failed(failure, started_s)
        except BadRequest as wrong:
            return self._failed(from_bad_request(wrong), started_s)
        return _answered(reply, self.clock.monotonic() - started_s)

    def ask_of(self, ask: StepAsk, started_s: float, on_first_token: Callable[[], None] | None = None) -> Ask:
        """Return a step's ask as the flow takes it. Raises BadRequest."""
        request = read_request(orjson.dumps(ask.body), dialect="chat", limits=self.limits)
        part = f".{ask.segment.index}" if ask.segment is not None else ""
        return Ask(
            request=request,
            caller=self.caller,
            request_id=f"{ask.parent_request_id}.{ask.step}{part}{'.repair' if ask.is_repair else ''}",
            endpoint="pipeline-step",
            received_s=started_s,
            origin="pipeline" if self.warming is None else "warmer",
            session=self.session,
            tags=self.tags | frozenset(ask.tags),
            cache_control=self.cache_control,
            deadline_s=ask.deadline_s,
            traceparent=self.traceparent,
            identity=_identity(ask),
            is_segment=ask.segment is not None and ask.segment.count > 1,
            store_sampled=True,
            assemble=True,
            on_first_token=on_first_token,
            parent_request_id=ask.parent_request_id,
            transcript=self.transcript,
            warming=self.warming,
        )

    def _failed(self, failure: RequestFailed, started_s: float) -> StepAnswer:
        error = StepError(message=failure.message, type=failure.type, code=failure.code, source=failure.source)
        return StepAnswer(content=error, attempts=failure.attempts, total_s=self.clock.monotonic() - started_s)


def _identity(ask: StepAsk) -> bytes:
    body: Mapping[str, object] = {name: value for name, value in ask.cache_body.items() if name != "model"}
    return orjson.dumps([ask.pipeline, ask.pipeline_version, ask.step, body], option=orjson.OPT_SORT_KEYS)


def _answered(reply: Reply, total_s: float) -> StepAnswer:
    trail = reply.trail
    model, _, response_model, simulated, _ = trail.answered_by()
    content = _content(reply.body or b"")
    kept = trail.stored or trail.made
    return StepAnswer(
        content=content if content is not None else _no_text(),
        usage=trail.usage(),
        cost_nanousd=trail.cost_nanousd(),
        saved_nanousd=trail.saved_nanousd(),
        cache=trail.cache,
        cache_tier=trail.tier,
        attempts=len(trail.attempts()),
        routed_model=model,
        response_model=response_model,
        is_simulated=simulated,
        total_s=total_s,
        first_token_s=trail.first_token_s,
        ttl_s=kept.ttl_s if kept is not None else 0.0,
        age_s=trail.age_s,
        warmed_by=kept.warmed_by if kept is not None else "",
        part=_part(trail) if kept is not None else None,
    )


def _part(trail: Trail) -> Part | None:
    """Name the step's stored answer, where the warmer may have it made again."""
    if not retains(trail.policy, trail.route_class):
        return None
    size = size_for(trail.ask.request, trail)
    return Part(
        key=trail.key,
        model=trail.answered_by()[0],
        usage=trail.usage(),
        most_input=size.input if size is not None else 0,
        most_output=size.output if size is not None else None,
    )


def _content(body: bytes) -> str | None:
    document = orjson.loads(body)
    choices = document.get("choices") if isinstance(document, dict) else None
    message = choices[0].get("message") if isinstance(choices, list) and choices else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) and content else None


def _no_text() -> StepError:
    return StepError(
        message="the model answered without text", type="provider_error", code="malformed_answer", source="provider"
    )
