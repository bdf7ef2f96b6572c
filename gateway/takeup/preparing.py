"""Turns an announced item into a request that the warmer can price and ask, as if it had been asked before.

Calls nobody. What may not be warmed comes back with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import orjson

from gateway.announced.records import Announcement, Item
from gateway.cache.semantic.eligibility import changes_by_itself
from gateway.errors import RequestFailed
from gateway.interactions import Interaction, Interactions
from gateway.keys import Caller
from gateway.pipelines.ports import StepAnswer, StepAsk, StepError
from gateway.pipelines.run import run_pipeline
from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX
from gateway.ports import Clock
from gateway.posted import Posted
from gateway.purse import Purse, Warming
from gateway.retained.kept import Kept
from gateway.takeup.sketching import NotAllowed, Sketch, Sketcher
from gateway.trail import Ask, CacheControl
from router.facts import BadRequest, DoorLimits, read_request
from router.simulation.instance import smallest

RESULT_BYTES: Final = 4
"""Bytes of a step's result for each of its tokens, in the prompt of a step that needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An item under its key: the request as the warmer keeps those that were asked before. `cheap_s` is how long having
    it answered at the cheap tier takes, None where that was never seen."""

    key: str
    kept: Kept
    cheap_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparer:
    """Works with the parts of a gateway; holds no state."""

    sketcher: Sketcher
    interactions: Interactions
    limits: DoorLimits
    clock: Clock

    async def prepare(self, announcement: Announcement, item: Item) -> Prepared:
        """Raises NotAllowed, StoreUnavailable."""
        await self.sketcher.experience.renew()
        try:
            if item.pipeline:
                return await self._run(announcement, item)
            return self._chat(announcement, item)
        except RequestFailed as failure:
            raise NotAllowed(failure.message) from None
        except BadRequest as wrong:
            raise NotAllowed(wrong.message) from None

    def _chat(self, announcement: Announcement, item: Item) -> Prepared:
        request = read_request(item.body, dialect="chat", limits=self.limits)
        control = CacheControl(namespace=_namespace(request.document))
        ask = Ask(
            request=request,
            caller=caller_of(announcement),
            request_id=announcement.id,
            endpoint="chat",
            received_s=self.clock.monotonic(),
            origin="warmer",
            session=announcement.session,
            tags=announcement.tags,
            cache_control=control,
            warming=_unpaid(),
        )
        sketch = self.sketcher.sketch(ask)
        if changes_by_itself(request, sketch.route_class.route.cache):
            raise NotAllowed("it has tools, or asks for what is live or personal: another time, another answer")
        kept = _kept(announcement, item.body, (sketch,))
        kept = msgspec.structs.replace(kept, namespace=control.namespace)
        return Prepared(key=sketch.part.key, kept=kept, cheap_s=sketch.cheap_s)

    async def _run(self, announcement: Announcement, item: Item) -> Prepared:
        posted = Posted(
            document=orjson.loads(item.body),
            caller=caller_of(announcement),
            request_id=announcement.id,
            received_s=self.clock.monotonic(),
            session=announcement.session,
            tags=announcement.tags,
            cache_control=CacheControl(),
            deadline_s=None,
            traceparent=None,
            warming=_unpaid(),
        )
        interaction = self.interactions.open(item.pipeline, posted, is_chat=False)
        steps = _Steps(interaction, self.sketcher)
        await run_pipeline(interaction.request, ask=steps, clock=self.clock)
        if steps.refusals or not steps.sketches:
            raise NotAllowed(min(steps.refusals, default="no step of it could be planned"))
        kept = _kept(announcement, orjson.dumps(posted.document), tuple(steps.sketches))
        model = PIPELINE_MODEL_PREFIX + item.pipeline
        seen = self.sketcher.experience.of_run(announcement.tenant, pipeline_model=model)
        slowest_s = max(sketch.wait_s for sketch in steps.sketches)
        return Prepared(
            key=interaction.key,
            kept=msgspec.structs.replace(
                kept,
                kind="run",
                wait_s=seen.wait_s if seen.wait_s is not None else slowest_s,
                pipeline=item.pipeline,
                transcript=interaction.steps.transcript,
            ),
            cheap_s=seen.cheap_s,
        )


@dataclass(slots=True)
class _Steps:
    """An AskStep that writes down what each step would ask, and answers with the least that fits its schema, so that
    the steps that need it are asked about too."""

    interaction: Interaction
    sketcher: Sketcher
    sketches: list[Sketch] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)
    most_output: dict[str, int] = field(default_factory=dict)

    async def __call__(self, ask: StepAsk, *, on_first_token: Callable[[], None] | None = None) -> StepAnswer:
        if on_first_token is not None:
            on_first_token()
        step = self.interaction.request.pipeline.step(ask.step)
        if not ask.is_repair:
            try:
                sketch = self.sketcher.sketch(self.interaction.steps.ask_of(ask, self.interaction.posted.received_s))
            except (NotAllowed, RequestFailed, BadRequest) as refused:
                return self._refused(str(refused))
            self._add(sketch, step.name, step.needs)
        return StepAnswer(content=orjson.dumps(smallest(step.output_schema)).decode())

    def _add(self, sketch: Sketch, name: str, needs: tuple[str, ...]) -> None:
        part = sketch.part
        more = RESULT_BYTES * sum(self.most_output.get(needed, 0) for needed in needs)
        self.most_output[name] = self.most_output.get(name, 0) + (part.most_output or 0)
        self.sketches.append(replace(sketch, part=msgspec.structs.replace(part, most_input=part.most_input + more)))

    def _refused(self, why: str) -> StepAnswer:
        self.refusals.add(why)
        error = StepError(message=why, type="invalid_request_error", code="not_allowed", source="gateway")
        return StepAnswer(content=error)


def caller_of(announcement: Announcement) -> Caller:
    """Return who announced it."""
    return Caller(tenant=announcement.tenant, key_id=announcement.key_id, allowed_models=announcement.allowed_models)


def _unpaid() -> Warming:
    """Nothing may be spent on what is only planned."""
    return Warming(predictor="announced", purse=Purse(left_nanousd=0), service_tier="")


def _namespace(document: Mapping[str, object]) -> str:
    wished = document.get("cache")
    namespace = wished.get("namespace") if isinstance(wished, Mapping) else None
    return namespace if isinstance(namespace, str) else ""


def _kept(announcement: Announcement, body: bytes, sketches: tuple[Sketch, ...]) -> Kept:
    route = sketches[0].route_class.route
    allowed = announcement.allowed_models
    return Kept(
        kind="chat",
        body=body,
        dialect="chat",
        tenant=announcement.tenant,
        key_id=announcement.key_id,
        allowed_models=None if allowed is None else tuple(sorted(allowed)),
        session=announcement.session,
        tags=tuple(sorted(announcement.tags)),
        namespace="",
        parts=tuple(sketch.part for sketch in sketches),
        wait_s=max(sketch.wait_s for sketch in sketches),
        ttl_s=min(sketch.route_class.route.cache.exact_ttl_s for sketch in sketches),
        cost_nanousd=sum(sketch.cost_nanousd for sketch in sketches),
        routed_model=sketches[0].part.model if len(sketches) == 1 else "",
        route=route.name if len(sketches) == 1 else "",
        epoch=route.epoch if len(sketches) == 1 else 0,
    )
