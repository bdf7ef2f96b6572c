"""Replies and plans as HTTP responses, for every endpoint that asks the flow."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.delivery import Reply
from gateway.explaining import shown_explanation
from gateway.http.ready import whole_answer
from gateway.http.sse import send_events
from gateway.http.state import Services
from gateway.http.wire import answer_lines
from gateway.trail import Ask
from policies.explain import explain
from policies.model import Plan, RouteClass


async def deliver(http: web.Request, services: Services, reply: Reply) -> web.StreamResponse:
    """Send a reply with its headers."""
    lines = answer_lines(reply.trail, now_s=services.clock.monotonic())
    if reply.provider_headers:
        lines += _theirs(reply)
    if reply.blocks is not None:
        return await send_events(http, reply.blocks, lines, services.departures, put_through=reply.put_through)
    return whole_answer(http, reply.body or b"", lines, services.departures)


def _theirs(reply: Reply) -> list[str]:
    """Return what a provider says that the gateway does not say itself: its rate limits where the key has none."""
    spending = reply.trail.ask.spending
    is_limited = spending is not None and spending.is_limited
    return [
        f"{name}: {value}"
        for name, value in reply.provider_headers.items()
        if not (is_limited and name.startswith("x-ratelimit-"))
    ]


def dry_run(services: Services, ask: Ask) -> web.Response:
    """Return the plan and call nobody (wire.md: x-foreword-dry-run)."""
    trail = services.flow.trail(ask)
    plan = services.flow.plan(ask, trail)
    shown = {
        "object": "foreword.plan",
        "policy": plan.policy,
        "policy_version": plan.policy_version,
        "route": plan.route,
        "candidates": plan.candidates,
        "deadline_s": plan.deadline_s,
        "max_output_tokens": plan.max_output_tokens,
        "reason": plan.reason,
        "rejected": [{"candidate": r.candidate, "code": r.code, "detail": r.detail} for r in plan.rejected],
        "input_tokens_estimate": trail.facts.input_tokens,
        "considered": [] if trail.route_class is None else _considered(services, trail.route_class, plan),
    }
    return web.Response(
        body=orjson.dumps(shown), content_type="application/json", headers={"x-request-id": ask.request_id}
    )


def _considered(services: Services, route_class: RouteClass, plan: Plan) -> list[dict[str, object]]:
    return shown_explanation(explain(route_class, plan, services.deployments.catalogue()))
