"""A judge marks a share of answers: routing learns from that, nobody waits for it, and it has a budget of its own."""

from __future__ import annotations

import json
import uuid

import pytest

from gateway.embedder.hashing import HashingEncoder
from gateway.judge import mark
from tests.http.conftest import StartGateway
from tests.http.running import Gateway
from tests.http.wordings import AGAIN, FIRST
from tests.provider import Reply

POLICY = """
version: 1
policy: NAME
models:
  small: {group: small, quality_prior: {any: 0.99}}
  large: {group: large, reference: true, quality_prior: {any: 0.99}}
routes:
  - name: floor
    match: {tag: "task=*"}
    candidates: [small, large]
    objective: {minimise: cost, quality: {floor: 0.9}}
    selector: {type: quality_floor, control: 0}
    cache: {exact_ttl: 1h, semantic: {wrong_per_hit: 0.02}}
  - {name: chat, match: {any: true}, candidates: [requested]}
judge: {model: large, sample: 1, limit_usd_day: LIMIT}
"""
TASK = {"x-foreword-tags": "task=fallacy"}


async def judging(start_gateway: StartGateway, *, limit: str = "1") -> Gateway:
    """Start a gateway whose judge gives 3 of 10."""
    name = f"judged-{uuid.uuid4().hex[:8]}"
    policy = POLICY.replace("NAME", name).replace("LIMIT", limit)
    gateway = await start_gateway(policy=policy, embedder=HashingEncoder())
    gateway.provider.always("up-large", Reply(words=('{"score"', ": 3}")))
    return gateway


async def until_judged(gateway: Gateway) -> None:
    """Wait for the judge's tasks."""
    while any(name == "judge" for name in gateway.worker.supervisor.names):
        await gateway.worker.services.clock.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_mark_becomes_a_label_with_the_questions_vector(start_gateway: StartGateway, stream: bool) -> None:
    gateway = await judging(start_gateway)
    knowledge = gateway.worker.services.knowledge
    answer = await gateway.chat(FIRST, headers=TASK, stream=stream)
    assert answer.headers["x-foreword-model"] == "small"
    await until_judged(gateway)
    learnt = await knowledge.poll()
    assert learnt.by_source == {"judge": 1}
    (judged,) = [one for one in gateway.outcomes if one.origin == "judge"]
    (user,) = [one for one in gateway.outcomes if one.origin == "user"]
    assert (judged.routed_model, judged.parent_request_id, judged.cache) == ("large", user.request_id, "bypass")
    assert judged.cost_nanousd
    assert judged.interaction_cost_nanousd == 0
    found = knowledge.snapshot.tasks[user.policy, "fallacy"]
    assert found.by_group["small"].total == pytest.approx(0.3, abs=0.01)
    # The next question of the kind is compared with this one: the vector of the cache reached the selector.
    again = await gateway.chat(AGAIN, headers=TASK)
    assert again.status == 200
    seen = [one for one in gateway.outcomes if one.origin == "user"][-1]
    assert seen.decision is not None
    assert seen.decision.view is not None
    assert seen.decision.view.evidence.near is not None
    assert seen.decision.view.evidence.near.keys() == {"small"}


async def test_what_the_judge_reads_is_the_request_and_the_answer_and_a_number_is_asked_for(
    start_gateway: StartGateway,
) -> None:
    gateway = await judging(start_gateway)
    await gateway.chat("is this fair?", headers=TASK)
    await until_judged(gateway)
    sent = [json.loads(seen.body) for seen in gateway.provider.requests]
    (asked,) = [body for body in sent if body["model"] == "up-large"]
    text = asked["messages"][1]["content"]
    assert "user: is this fair?" in text
    assert "Hello" in text
    assert asked["response_format"]["json_schema"]["name"] == "mark"
    assert asked.get("max_tokens") == 512 or asked.get("max_completion_tokens") == 512


async def test_nobody_is_judged_without_a_floor_beyond_the_budget_or_when_too_long(start_gateway: StartGateway) -> None:
    gateway = await judging(start_gateway)
    await gateway.chat("no floor here")
    await gateway.chat("x" * 30_000, headers=TASK)
    poor = await judging(start_gateway, limit="0.0000001")
    await poor.chat("hello", headers=TASK)
    for one in (gateway, poor):
        await until_judged(one)
        assert not [outcome for outcome in one.outcomes if outcome.origin == "judge"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"score": 7}', 0.7),
        ('Here you are: {"score":10}', 1.0),
        ("8/10", 0.8),
        ("0", 0.0),
        ('{"score": 11}', None),
        ("It has 3 good points", None),
        ("", None),
        (None, None),
    ],
)
def test_a_mark_is_read_or_there_is_none(text: str | None, expected: float | None) -> None:
    assert mark(text) == expected
