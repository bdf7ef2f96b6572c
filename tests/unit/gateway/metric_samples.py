"""Outcomes to record, and a scraper's view of what a registry then holds."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import KnownLabels, Metrics
from gateway.outcome import Outcome
from router.types import AttemptRecord, Usage

CHAT = "chat"
KNOWN = KnownLabels(
    models=frozenset({"small", "large"}),
    providers=frozenset({"openai", "anthropic"}),
    deployments=frozenset({("small", "openai"), ("large", "anthropic")}),
    routes=frozenset({"default", "debate"}),
    endpoints=frozenset({CHAT, "embeddings", "warm"}),
)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def make() -> Metrics:
    return Metrics(version="1.2.3", known=KNOWN)


def samples(metrics: Metrics) -> Samples:
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    return parsed(text)


def parsed(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Sum over every series of that name that has these labels."""
    return sum(
        number for (series, names), number in found.items() if series == name and frozenset(labels.items()) <= names
    )


def attempt(**changes: object) -> AttemptRecord:
    fields: dict[str, object] = {
        "deployment_id": "d",
        "group": "small",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "reason": "first",
        "started_s": 0.5,
        "ended_s": 0.75,
        "result": "ok",
        **changes,
    }
    return AttemptRecord(**fields)  # type: ignore[arg-type]


def outcome(**changes: object) -> Outcome:
    fields: dict[str, object] = {
        "request_id": "r",
        "origin": "user",
        "endpoint": CHAT,
        "started_at": 1.0,
        "result": "ok",
        "status": 200,
        "tenant": "tenant-of-nobody",
        "route": "default",
        "routed_model": "small",
        "provider": "openai",
        "cache": "miss",
        "cache_key": "0" * 64,
        "total_s": 0.3,
        "overhead_s": 0.0004,
        **changes,
    }
    return Outcome(**fields)  # type: ignore[arg-type]


def answered(**changes: object) -> Outcome:
    return outcome(
        **{
            "usage": Usage(input_tokens=100, output_tokens=20, cached_tokens=60),
            "cost_nanousd": 2_000_000,
            "interaction_cost_nanousd": 2_000_000,
            "attempts": (attempt(),),
            "first_token_s": 0.2,
            **changes,
        }
    )
