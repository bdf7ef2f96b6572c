"""Values of the size that real ones have: an outcome, and policies as long as one likes. Does no I/O."""

from __future__ import annotations

from gateway.outcome import Outcome
from router.types import AttemptRecord, Usage

ATTEMPT = AttemptRecord(
    deployment_id="deployment",
    group="gpt-4o-mini",
    provider="openai",
    model="gpt-4o-mini",
    reason="first",
    started_s=0.001,
    ended_s=0.412,
    result="ok",
    usage=Usage(input_tokens=42, output_tokens=300),
    cost_nanousd=186_300,
)


def outcome(request_id: str = "req-0123456789abcdef01234567") -> Outcome:
    """Return what became of a plain chat request."""
    return Outcome(
        request_id=request_id,
        origin="user",
        endpoint="chat",
        started_at=1_767_225_600.0,
        result="ok",
        status=200,
        tenant="default",
        key_id="key-0123456789ab",
        policy="default",
        policy_version="0123456789ab",
        route="chat",
        reason="fixed:gpt-4o-mini",
        requested_model="gpt-4o-mini",
        routed_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        provider="openai",
        cache="miss",
        cache_key="0" * 64,
        input_tokens_estimate=44,
        usage=Usage(input_tokens=42, output_tokens=300),
        cost_nanousd=186_300,
        interaction_cost_nanousd=186_300,
        finish_reasons=("stop",),
        attempts=(ATTEMPT,),
        total_s=0.413,
        overhead_s=0.001,
    )


CONDITIONS = (
    "{{tag: task=step-{0}}}",
    '{{tenant: "team-{0}-*"}}',
    '{{model: "local-{0}*"}}',
    "{{all: [{{tag: show=number-{0}}}, {{input_tokens: {{lt: 60000}}}}]}}",
)


def policy_of(routes: int) -> str:
    """Return a policy file in which a plain chat request passes `routes` - 1 conditions before one holds."""
    lines = ["version: 1", "policy: default", "routes:"]
    for number in range(routes - 1):
        condition = CONDITIONS[number % len(CONDITIONS)].format(number)
        lines.append(f"  - {{name: r{number}, match: {condition}, candidates: [requested]}}")
    lines.append(
        "  - {name: chat, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: 0.3}}"
    )
    return "\n".join(lines) + "\n"
