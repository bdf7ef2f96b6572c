"""Pipeline runs as HTTP responses: whole, as named events, or as the answer of a chat model `pipeline/{name}`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import orjson
from aiohttp import web

from gateway.cache.codec import DONE, disassemble, event
from gateway.dollars import usd
from gateway.errors import RequestFailed, http_failure
from gateway.http.ready import event_stream
from gateway.http.state import REQUEST_ID, Services
from gateway.http.wire import cache_control_of, deadline_of, session_of, tags_of, traceparent_of
from gateway.interactions import Interaction
from gateway.keys import Caller
from gateway.pipelines.report import PipelineReport
from gateway.pipelines.spec import PIPELINE_MODEL_PREFIX
from gateway.posted import Posted
from gateway.trail import Ask


async def run_as_model(http: web.Request, services: Services, ask: Ask) -> web.StreamResponse:
    """Run the pipeline that a chat request names as its model."""
    posted = posted_by(http, ask.request.document, ask.caller, ask.received_s)
    name = ask.request.requested_model.removeprefix(PIPELINE_MODEL_PREFIX)
    interaction = services.interactions.open(name, posted, is_chat=True)
    if ask.request.stream:
        return await _send_chat(http, interaction, include_usage=ask.request.include_usage)
    report = await interaction.whole()
    if report.status == "failed":
        raise _failed(report)
    return send_whole(interaction.chat_body(report), report, ask.request_id)


def posted_by(http: web.Request, document: Mapping[str, object], caller: Caller, received_s: float) -> Posted:
    """Return who posted what, with what the headers ask for. Raises RequestFailed for a bad header."""
    headers = http.headers
    return Posted(
        document=document,
        caller=caller,
        request_id=http[REQUEST_ID],
        received_s=received_s,
        session=session_of(headers),
        tags=tags_of(headers),
        cache_control=cache_control_of(headers, {}),
        deadline_s=deadline_of(headers),
        traceparent=traceparent_of(headers),
    )


def send_whole(value: Mapping[str, object], report: PipelineReport, request_id: str) -> web.Response:
    """Return a finished run, in the shape given, with what it cost."""
    answers = [answer for step in report.steps for answer in step.answers]
    headers = {
        "x-request-id": request_id,
        "x-foreword-cost-usd": usd(sum(answer.cost_nanousd or 0 for answer in answers)),
        "x-foreword-saved-usd": usd(sum(answer.saved_nanousd for answer in answers)),
        "x-foreword-attempts": str(sum(answer.attempts for answer in answers)),
    }
    if any(answer.is_simulated for answer in answers):
        headers["x-foreword-simulated"] = "1"
    return web.Response(body=orjson.dumps(value), content_type="application/json", headers=headers)


async def send_named(http: web.Request, interaction: Interaction) -> web.StreamResponse:
    """Send the run's events under their own names; the last is `pipeline.completed` with the whole result."""
    response = event_stream(http, [f"x-request-id: {interaction.posted.request_id}"])
    with suppress(ConnectionError):
        async with interaction.running() as run:
            await response.prepare(http)
            async for name, data in run.events():
                await response.write(b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n")
        await response.write_eof()
    return response


async def _send_chat(http: web.Request, interaction: Interaction, *, include_usage: bool) -> web.StreamResponse:
    """Send progress as comments, which every client skips, then the answer as one chunk."""
    response = event_stream(http, [f"x-request-id: {interaction.posted.request_id}"])
    with suppress(ConnectionError):
        async with interaction.running() as run:
            await response.prepare(http)
            async for name, data in run.events():
                await response.write(b": " + name.encode() + b" " + str(data.get("step", "")).encode() + b"\n\n")
            report = run.report
        await response.write(_chat_ending(interaction, report, include_usage=include_usage))
        await response.write_eof()
    return response


def _chat_ending(interaction: Interaction, report: PipelineReport | None, *, include_usage: bool) -> bytes:
    if report is None or report.status == "failed":
        failure = _failed(report) if report is not None else http_failure(503, "the run was ended by the gateway")
        return event(failure.body())
    content, usage = disassemble(orjson.dumps(interaction.chat_body(report)))
    return content + (usage if usage and include_usage else b"") + DONE


def _failed(report: PipelineReport) -> RequestFailed:
    """The error of a run without any result: its first failed step's."""
    error = next((step.error for step in report.steps if step.error is not None), None)
    failure = RequestFailed(
        f"every step of the pipeline failed: {error.message if error else 'no step ran'}",
        status=502,
        type=error.type if error else "pipeline_error",
        code=error.code if error else "pipeline_failed",
        source=error.source if error else "gateway",
        should_retry=False,
    )
    failure.is_recorded = True
    return failure
