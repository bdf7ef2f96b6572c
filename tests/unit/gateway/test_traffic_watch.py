"""What ops see of breakers, places and the retry budget."""

from __future__ import annotations

import asyncio

import structlog

from gateway.traffic_watch import TrafficWatch
from router.deadlines import DEFAULT_LIMITS
from router.traffic import Traffic
from router.types import Deployment
from tests.unit.gateway.metric_samples import make, samples, value

SMALL = {"provider": "openai", "model": "small"}


def deployment(number: int) -> Deployment:
    return Deployment(
        id=f"d{number}",
        group="small",
        provider="openai",
        model="gpt-4o-mini",
        backend="openai_wire",
        api_base="http://127.0.0.1",
        secret="",
        price=None,
    )


async def test_each_transition_is_logged_and_counted_once_and_the_worst_state_shows() -> None:
    metrics, traffic = make(), Traffic(DEFAULT_LIMITS)
    watch = TrafficWatch(traffic, [deployment(1), deployment(2)], metrics)
    for _ in range(5):
        traffic.breakers.failed("d2", 100.0, "server_error")
    with structlog.testing.capture_logs() as lines:
        await watch.look()
        await watch.look()
    assert [(line["event"], line["log_level"], line["deployment_id"], line["before"]) for line in lines] == [
        ("breaker is open", "warning", "d2", "closed")
    ]
    found = samples(metrics)
    assert value(found, "foreword_breaker_state", **SMALL) == 2
    assert value(found, "foreword_breaker_transitions_total", **SMALL, to="open") == 1
    assert traffic.breakers.admit("d2", 200.0)
    traffic.breakers.succeeded("d2", 200.0)
    with structlog.testing.capture_logs() as lines:
        await watch.look()
    assert [line["event"] for line in lines] == ["breaker is half open", "breaker is closed"]
    found = samples(metrics)
    assert value(found, "foreword_breaker_state", **SMALL) == 0
    assert value(found, "foreword_breaker_transitions_total", **SMALL) == 3


async def test_calls_in_flight_and_in_the_queue_are_levels_and_those_sent_away_a_count() -> None:
    metrics, traffic = make(), Traffic(DEFAULT_LIMITS)
    watch = TrafficWatch(traffic, [deployment(1), deployment(2)], metrics)
    places = traffic.places
    while places.take("d1"):
        pass
    taken = places.in_flight("d1")
    assert places.take("d2")
    assert not await places.wait("d1", priority="interactive", tenant="t", at_most_s=0.0)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(places.wait("d1", priority="interactive", tenant="t", at_most_s=60.0))
        await asyncio.sleep(0)
        await watch.look()
        found = samples(metrics)
        assert value(found, "foreword_in_flight_provider_calls", **SMALL) == taken + 1
        assert value(found, "foreword_queued_provider_calls", **SMALL) == 1
        places.release("d1")
    assert waiting.result()
    await watch.look()
    found = samples(metrics)
    assert value(found, "foreword_queued_provider_calls", **SMALL) == 0
    assert value(found, "foreword_queue_entries_total", **SMALL) == 1
    assert value(found, "foreword_queue_drops_total", **SMALL) == 1


async def test_what_the_retry_budget_refused_is_counted_once() -> None:
    metrics, traffic = make(), Traffic(DEFAULT_LIMITS)
    watch = TrafficWatch(traffic, [deployment(1)], metrics)
    while traffic.budget.take(100.0):
        pass
    await watch.look()
    await watch.look()
    assert value(samples(metrics), "foreword_retry_budget_refusals_total") == 1
