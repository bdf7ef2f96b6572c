"""POST /v1/feedback: who may judge which answer, and that routing learns from it."""

from __future__ import annotations

import uuid

from tests.http.conftest import StartGateway
from tests.http.running import Answer, Gateway

FLOOR = """
version: 1
policy: default
models:
  small: {group: small, quality_prior: {any: 0.99}}
  large: {group: large, reference: true, quality_prior: {any: 0.99}}
routes:
  - {name: embeddings, match: {dialect: embeddings}, candidates: [requested]}
  - name: floor
    match: {tag: "task=*"}
    candidates: [small, large]
    objective: {minimise: cost, quality: {floor: 0.9}}
    selector: {type: quality_floor, control: 0}
    cache: {exact_ttl: 1h}
  - {name: chat, match: {any: true}, candidates: [requested]}
"""


async def floored(start_gateway: StartGateway) -> tuple[Gateway, str]:
    gateway = await start_gateway(policy=FLOOR)
    return gateway, f"r-{uuid.uuid4().hex[:8]}"


async def asked(gateway: Gateway, request_id: str, text: str = "hi") -> Answer:
    headers = {"x-request-id": request_id, "x-foreword-tags": "task=fallacy"}
    return await gateway.chat(text, headers=headers)


async def test_thumbs_down_teaches_the_next_snapshot(start_gateway: StartGateway) -> None:
    gateway, request_id = await floored(start_gateway)
    knowledge = gateway.worker.services.knowledge
    answer = await asked(gateway, request_id)
    assert answer.headers["x-foreword-reason"].startswith("quality_floor:small")
    given = await gateway.post("/v1/feedback", {"request_id": request_id, "thumbs": "down", "comment": "no"})
    assert given.status == 200
    assert given.json() == {
        "object": "foreword.feedback",
        "request_id": request_id,
        "score": 0.0,
        "model": "small",
        "route": "floor",
        "task": "fallacy",
    }
    learnt = await knowledge.poll()
    gateway.worker.services.metrics.learnt(learnt)
    assert learnt.by_source == {"feedback": 1}
    (outcome,) = [one for one in gateway.outcomes if one.request_id == request_id]
    assert outcome.arm == "fixed"
    assert outcome.decision is not None
    assert outcome.decision.view is not None
    metrics = await gateway.session.get(gateway.url + "/metrics")
    text = await metrics.text()
    assert 'foreword_arm_requests_total{arm="fixed",route="floor"} 1.0' in text
    assert 'foreword_quality_labels_total{source="feedback"} 1.0' in text


async def test_feedback_is_taken_once(start_gateway: StartGateway) -> None:
    gateway, request_id = await floored(start_gateway)
    await asked(gateway, request_id)
    first = await gateway.post("/v1/feedback", {"request_id": request_id, "score": 1})
    second = await gateway.post("/v1/feedback", {"request_id": request_id, "score": 0})
    assert (first.status, second.status) == (200, 409)
    assert second.json()["error"]["code"] == "feedback_given"


async def test_nobody_judges_another_tenants_answer(start_gateway: StartGateway) -> None:
    gateway, request_id = await floored(start_gateway)
    await asked(gateway, request_id)
    stranger = await gateway.worker.services.keys.create("stranger", name="x")
    headers = {"Authorization": f"Bearer {stranger.secret}"}
    body = {"request_id": request_id, "score": 0}
    refused = await gateway.post("/v1/feedback", body, **headers)
    assert refused.status == 404
    assert refused.json()["error"]["code"] == "request_not_found"
    assert (await gateway.post("/v1/feedback", body)).status == 200


async def test_an_answer_that_nobody_chose_by_quality_has_nothing_to_learn_from(start_gateway: StartGateway) -> None:
    gateway, request_id = await floored(start_gateway)
    await gateway.chat("hi", headers={"x-request-id": request_id})
    refused = await gateway.post("/v1/feedback", {"request_id": request_id, "score": 0})
    assert refused.status == 404
    assert "quality floor" in refused.json()["error"]["message"]


async def test_what_is_wrong_with_feedback_is_named(start_gateway: StartGateway) -> None:
    gateway, _ = await floored(start_gateway)
    wrong: list[tuple[dict[str, object], str]] = [
        ({"score": 1}, "request_id"),
        ({"request_id": "r"}, "score"),
        ({"request_id": "r", "score": 1, "thumbs": "up"}, "score"),
        ({"request_id": "r", "score": 1.5}, "score"),
        ({"request_id": "r", "score": True}, "score"),
        ({"request_id": "r", "thumbs": "sideways"}, "thumbs"),
        ({"request_id": "r", "score": 1, "comment": "x" * 1001}, "comment"),
        ({"request_id": "r", "score": 1, "stars": 5}, "stars"),
    ]
    for body, param in wrong:
        refused = await gateway.post("/v1/feedback", body)
        assert (refused.status, refused.json()["error"]["param"]) == (400, param), body
    async with gateway.session.post(gateway.url + "/v1/feedback", json={}, headers={"Authorization": ""}) as answer:
        assert answer.status == 401


async def test_a_dry_run_says_who_is_below_the_floor(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(policy=FLOOR.replace("small, quality_prior: {any: 0.99}", "small"))
    plan = await gateway.chat("hi", headers={"x-foreword-dry-run": "1", "x-foreword-tags": "task=x"})
    assert plan.json()["candidates"] == ["large"]
    assert [(r["candidate"], r["code"]) for r in plan.json()["rejected"]] == [("small", "below_floor")]
