"""POST /v1/warm and GET /v1/warm/{id} as a client sees them, before anybody takes up what was announced."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from gateway.announced.reading import MAX_BYTES, MAX_ITEMS
from gateway.announced.shelf import MAX_OPEN
from tests.http.conftest import StartGateway
from tests.http.debating import TEXT
from tests.http.running import POLICY, Answer, Gateway

WARMING = POLICY + "warming: {limit_usd_day: 1, max_share_of_spend: 1, holdout: 0}\n"
CHAT = {"model": "small", "messages": [{"role": "user", "content": "What is a tram?"}]}


@pytest.fixture
async def warming(start_gateway: StartGateway) -> Gateway:
    return await start_gateway(policy=WARMING)


async def show(gateway: Gateway, name: str, **headers: str) -> Answer:
    async with gateway.session.get(f"{gateway.url}/v1/warm/{name}", headers=headers) as answer:
        return Answer(status=answer.status, headers=answer.headers, body=await answer.read())


def error(answer: Answer) -> tuple[int, Any, Any]:
    found = answer.json()["error"]
    return answer.status, found["code"], found["param"]


async def test_an_announcement_is_kept_and_told_without_its_text(warming: Gateway) -> None:
    posted = await warming.post("/v1/warm", {"transcript": TEXT, "ready_by_s": 60})
    assert posted.status == 202
    told = posted.json()
    assert posted.headers["Location"] == f"/v1/warm/{told['id']}"
    assert told["is_repeat"] is False
    assert told["status"] == "queued"
    assert told["items"] == [{"index": 0, "status": "queued"}]
    assert told["ready_by"] == told["created_at"] + 60
    shown = await show(warming, told["id"])
    assert shown.status == 200
    assert shown.json() == {name: value for name, value in told.items() if name != "is_repeat"}
    assert b"Trams" not in posted.body + shown.body


async def test_the_same_content_is_the_same_announcement_whenever_it_is_wanted(warming: Gateway) -> None:
    first = (await warming.post("/v1/warm", {"requests": [CHAT], "ready_by_s": 60})).json()
    again = await warming.post("/warm", {"requests": [{**CHAT, "stream": True}], "ready_by_s": 30})
    assert again.status == 202
    assert again.json()["id"] == first["id"]
    assert again.json()["is_repeat"] is True
    others = (
        await warming.post("/v1/warm", {"requests": [CHAT], "level": "prefix"}),
        await warming.post("/v1/warm", {"requests": [CHAT, CHAT]}),
        await warming.post("/v1/warm", {"requests": [CHAT]}, x_foreword_tags="task=fallacy"),
    )
    assert len({first["id"], *(other.json()["id"] for other in others)}) == 4


async def test_an_idempotency_key_names_one_announcement(warming: Gateway) -> None:
    headers = {"Idempotency_Key": "link-42"}
    first = await warming.post("/v1/warm", {"requests": [CHAT]}, **headers)
    again = await warming.post("/v1/warm", {"requests": [CHAT]}, **headers)
    other = await warming.post("/v1/warm", {"transcript": TEXT}, **headers)
    assert first.json()["id"] == again.json()["id"]
    assert error(other) == (422, "idempotency_key_reused", None)
    bad = await warming.post("/v1/warm", {"requests": [CHAT]}, Idempotency_Key="a b")
    assert bad.status == 400


async def test_another_tenant_finds_nothing_of_it(warming: Gateway) -> None:
    name = (await warming.post("/v1/warm", {"requests": [CHAT]})).json()["id"]
    other = await warming.worker.services.keys.create("somebody-else", name="other")
    found = await show(warming, name, Authorization=f"Bearer {other.secret}")
    assert error(found) == (404, "announcement_not_found", "id")
    assert error(await show(warming, "warm-x")) == (404, "announcement_not_found", "id")


async def test_where_warming_is_off_the_client_is_told_so(gateway: Gateway) -> None:
    answer = await gateway.post("/v1/warm", {"requests": [CHAT]})
    assert error(answer) == (409, "warming_off", None)
    assert answer.headers["x-should-retry"] == "false"
    assert "policy 'default'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "transcript"),
        ({"transcript": TEXT, "requests": [CHAT]}, "transcript"),
        ({"transcript": " "}, "transcript"),
        ({"transcript": TEXT, "steps": ["dance"]}, "steps"),
        ({"transcript": TEXT, "colour": "red"}, "colour"),
        ({"transcript": TEXT, "ready_by_s": 0}, "ready_by_s"),
        ({"transcript": TEXT, "level": "half"}, "level"),
        ({"requests": []}, "requests"),
        ({"requests": [CHAT] * (MAX_ITEMS + 1)}, "requests"),
        ({"requests": [CHAT], "steps": ["analysis"]}, "steps"),
        ({"requests": [CHAT, {"model": "small"}]}, "requests[1]"),
        ({"requests": [CHAT, {"transcript": TEXT, "temperature": 0}]}, "requests[1].temperature"),
        ({"requests": [{"transcript": TEXT, "level": "prefix"}]}, "requests[0].level"),
        ({"requests": [{**CHAT, "model": "pipeline/debate"}]}, "requests[0].model"),
    ],
)
async def test_a_bad_announcement_is_refused_whole_and_the_field_named(
    warming: Gateway, body: dict[str, object], param: str
) -> None:
    answer = await warming.post("/v1/warm", body)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == param


async def test_a_pipeline_that_there_is_not_is_a_404(warming: Gateway) -> None:
    answer = await warming.post("/v1/warm", {"requests": [{"transcript": TEXT, "pipeline": "opera"}]})
    assert error(answer) == (404, "model_not_found", "requests[0].pipeline")


async def test_announcements_are_bounded_in_bytes_and_in_number(warming: Gateway) -> None:
    body = io.BytesIO(json.dumps({"transcript": "ANN: " + "tram " * (MAX_BYTES // 5)}).encode())
    async with warming.session.post(warming.url + "/v1/warm", data=body) as sent:
        large = Answer(status=sent.status, headers=sent.headers, body=await sent.read())
    assert error(large) == (413, "body_too_large", None)
    for number in range(MAX_OPEN):
        posted = await warming.post("/v1/warm", {"transcript": f"{TEXT}{number}"})
        assert posted.status == 202
    full = await warming.post("/v1/warm", {"transcript": TEXT})
    assert error(full) == (429, "overloaded", None)
    assert full.headers["Retry-After"] == "5"
    again = await warming.post("/v1/warm", {"transcript": f"{TEXT}{0}"})
    assert again.status == 202
    async with warming.session.get(warming.url + "/metrics") as metrics:
        text = await metrics.text()
    assert f'foreword_announcements_total{{result="new"}} {MAX_OPEN}.0' in text
    assert 'foreword_announcements_total{result="full"} 1.0' in text
    assert 'foreword_announcements_total{result="known"} 1.0' in text
    assert 'foreword_announced_items_total{result="over_budget"} 0.0' in text


async def test_a_key_that_may_not_run_a_pipeline_may_not_announce_one(warming: Gateway) -> None:
    made = await warming.worker.services.keys.create(warming.tenant, name="small", models=("small",))
    answer = await warming.post("/v1/warm", {"transcript": TEXT}, Authorization=f"Bearer {made.secret}")
    assert error(answer) == (403, "model_not_allowed", "model")
