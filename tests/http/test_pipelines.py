"""The debate pipeline through a whole gateway: both steps at once, checked quotes, partial results, paid once."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.http.debating import ANALYSIS, FALLACY, HINTS, NOTHING, TEXT, VERDICT, debate, said, script
from tests.http.folding import Json
from tests.http.running import Answer, Gateway
from tests.provider import Reply


def named_events(answer: Answer) -> list[tuple[str, Json]]:
    blocks = [block.split("\n") for block in answer.body.decode().split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def test_both_steps_answer_and_every_quote_stands_in_the_text(gateway: Gateway) -> None:
    script(gateway)
    answer = await debate(gateway)
    result = answer.json()
    assert (answer.status, result["object"], result["status"]) == (200, "pipeline.result", "ok")
    analysis, fallacy = result["steps"]["analysis"], result["steps"]["fallacy"]
    [claim] = analysis["result"]["claims"]
    assert analysis["dropped_quotes"] == 1
    assert (claim["quote"], claim["speaker"]) == ("Trams are quiet.", "ANN")
    assert TEXT[claim["span"]["start"] : claim["span"]["end"]] == "Trams are quiet."
    [found] = fallacy["result"]["fallacies"]
    assert (found["speaker"], fallacy["corrected_speakers"]) == ("BOB", 1)
    assert (analysis["status"], fallacy["status"], fallacy["cache"]["status"]) == ("ok", "ok", "miss")
    assert answer.headers["x-foreword-attempts"] == "2"


async def test_the_steps_are_at_the_provider_at_the_same_time(gateway: Gateway) -> None:
    script(gateway, analysis=said(ANALYSIS, gate="both"), fallacy=said(FALLACY, gate="both"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(debate(gateway))
        await gateway.provider.wait_for_requests(2)
        gateway.provider.open_gate("both")
    assert running.result().json()["status"] == "ok"


async def test_the_prompts_share_everything_up_to_the_steps_own_instruction(gateway: Gateway) -> None:
    script(gateway)
    await debate(gateway)
    one, two = [json.loads(seen.body)["messages"] for seen in gateway.provider.requests]
    assert one[0] == two[0]
    assert TEXT in one[1]["content"]
    end = one[1]["content"].rindex("</transcript")
    assert one[1]["content"][:end] == two[1]["content"][:end]


async def test_a_verdict_is_made_of_what_the_others_found(gateway: Gateway) -> None:
    gateway.provider.script("up-large", said(FALLACY), said(VERDICT))
    gateway.provider.always("up-small", said(ANALYSIS))
    result = (await debate(gateway, steps=["verdict"])).json()
    assert list(result["steps"]) == ["analysis", "fallacy", "verdict"]
    assert result["steps"]["verdict"]["result"]["verdict"] == "Even."
    assert "you are a fool" in json.loads(gateway.provider.requests[2].body)["messages"][1]["content"]


async def test_one_failing_step_leaves_the_others_result(gateway: Gateway) -> None:
    script(gateway, fallacy=Reply(status=400))
    answer = await debate(gateway)
    result = answer.json()
    assert (answer.status, result["status"]) == (200, "partial")
    assert result["steps"]["analysis"]["result"]["summary"] == "They talk about trams."
    error = result["steps"]["fallacy"]["error"]
    assert (result["steps"]["fallacy"]["status"], error["source"]) == ("failed", "provider")
    [run] = [outcome for outcome in gateway.outcomes if outcome.endpoint == "pipeline"]
    assert (run.result, run.reason) == ("ok", "partial")


async def test_a_step_that_has_no_json_is_asked_once_more_and_then_fails_alone(gateway: Gateway) -> None:
    script(gateway, fallacy=Reply(words=("I would rather not.",)))
    result = (await debate(gateway)).json()
    assert result["status"] == "partial"
    assert result["steps"]["fallacy"]["error"]["code"] == "schema_mismatch"
    assert [seen.json()["model"] for seen in gateway.provider.requests].count("up-large") == 2


async def test_a_repaired_answer_is_an_answer(gateway: Gateway) -> None:
    gateway.provider.script("up-large", said({"fallacies": "none"}), said(FALLACY))
    gateway.provider.always("up-small", said(ANALYSIS))
    result = (await debate(gateway)).json()
    assert result["status"] == "ok"
    assert result["steps"]["fallacy"]["attempts"] == 2


async def test_when_all_steps_fail_the_run_says_so(gateway: Gateway) -> None:
    script(gateway, analysis=Reply(status=400), fallacy=Reply(status=400))
    answer = await debate(gateway)
    assert (answer.status, answer.json()["status"]) == (200, "failed")
    chat = await gateway.chat(TEXT, model="pipeline/debate")
    error = chat.json()["error"]
    assert (chat.status, error["source"], chat.headers["x-should-retry"]) == (502, "provider", "false")
    runs = [outcome for outcome in gateway.outcomes if outcome.endpoint == "pipeline"]
    assert [(run.result, run.error_code) for run in runs] == [("error", "pipeline_failed")] * 2
    assert [run.status for run in runs] == [200, 502]


async def test_events_tell_of_the_run_as_it_goes(gateway: Gateway) -> None:
    script(gateway, analysis=said(ANALYSIS, gate="last"))
    url, body = gateway.url + "/v1/pipelines/debate", {"transcript": TEXT, "model_hints": HINTS, "stream": True}
    async with gateway.session.post(url, json=body) as http:
        assert http.headers["Content-Type"].startswith("text/event-stream")
        seen = b""
        while b"step.completed" not in seen:
            seen += await http.content.readany()
        gateway.provider.open_gate("last")
        seen += await http.content.read()
    events = named_events(Answer(status=200, headers={}, body=seen))
    order = [(name, data.get("step")) for name, data in events]
    assert sorted(order[:2]) == [("step.started", "analysis"), ("step.started", "fallacy")]
    assert order[2:] == [
        ("step.delta", "fallacy"),
        ("step.completed", "fallacy"),
        ("step.delta", "analysis"),
        ("step.completed", "analysis"),
        ("pipeline.completed", None),
    ]
    assert events[-1][1]["status"] == "ok"
    assert events[-1][1]["steps"]["analysis"]["result"] == events[-2][1]["result"]


async def test_a_run_is_one_interaction_and_no_dollar_counts_twice(gateway: Gateway) -> None:
    script(gateway)
    answer = await debate(gateway)
    steps = [outcome for outcome in gateway.outcomes if outcome.origin == "pipeline"]
    [run] = [outcome for outcome in gateway.outcomes if outcome.origin == "user"]
    assert [step.parent_request_id for step in steps] == [run.request_id] * 2
    assert sorted(step.request_id for step in steps) == [
        f"{run.request_id}.{name}" for name in ("analysis.0", "fallacy.0")
    ]
    cost = sum(step.cost_nanousd or 0 for step in steps)
    assert cost > 0
    assert (run.cost_nanousd, run.interaction_cost_nanousd) == (0, cost)
    assert {step.interaction_cost_nanousd for step in steps} == {0}
    assert answer.json()["cost_usd"] == pytest.approx(cost / 1e9)
    assert {tag for step in steps for tag in step.tags} == {"task=analysis", "task=fallacy"}


async def test_the_second_run_costs_nothing(gateway: Gateway) -> None:
    script(gateway)
    first = (await debate(gateway)).json()
    # Stamps, spaces and the case of labels say nothing new.
    second = await debate(gateway, "[10:01] ann:  Trams are quiet. Everybody\nsays so.\n[10:02] bob: " + TEXT[46:])
    result = second.json()
    assert len(gateway.provider.requests) == 2
    assert (result["cost_usd"], result["saved_usd"]) == (0, first["cost_usd"])
    assert {step["cache"]["status"] for step in result["steps"].values()} == {"hit"}
    assert second.headers["x-foreword-cost-usd"] == "0.000000000"
    assert gateway.outcomes[-1].cache == "hit"


def long_debate(turns: int) -> str:
    rng = random.Random(7)
    words = ("trams", "quiet", "loud", "city", "money", "street", "people", "noise", "green", "wheels", "fare", "vote")
    lines = [
        f"{'ANN' if turn % 2 else 'BOB'}: {' '.join(rng.choices(words, k=60)).capitalize()} {turn}.\n"
        for turn in range(turns)
    ]
    return "".join(lines)


async def test_a_transcript_that_grows_pays_for_its_new_end_only(gateway: Gateway) -> None:
    script(gateway, analysis=said(NOTHING), fallacy=said({"fallacies": []}))
    first = (await debate(gateway, long_debate(60))).json()
    segments = first["steps"]["analysis"]["segments"]
    assert segments >= 3
    assert len(gateway.provider.requests) == 2 * segments
    second = (await debate(gateway, long_debate(61))).json()
    for step in second["steps"].values():
        # All but the last, which the new turn made longer or ended.
        assert step["cache"]["tiers"]["segment"] == segments - 1
        assert step["cache"]["tiers"]["none"] == step["segments"] - (segments - 1) <= 2
    assert second["saved_usd"] > 0
    assert {outcome.cache_tier for outcome in gateway.outcomes if outcome.cache == "hit"} == {"segment"}


async def test_two_runs_at_once_share_their_calls(gateway: Gateway) -> None:
    script(gateway, analysis=said(ANALYSIS, gate="both"), fallacy=said(FALLACY, gate="both"))
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(debate(gateway)) for _ in range(2)]
        await gateway.provider.wait_for_requests(2)
        while gateway.worker.inflight.callers < 4:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        gateway.provider.open_gate("both")
    results = [run.result().json() for run in runs]
    assert len(gateway.provider.requests) == 2
    assert results[0]["steps"]["analysis"]["result"] == results[1]["steps"]["analysis"]["result"]


# -- refusals ---------------------------------------------------------------------------------------------------------


async def test_an_unknown_pipeline_is_a_404_that_names_those_there_are(gateway: Gateway) -> None:
    by_path = await gateway.post("/v1/pipelines/quarrel", {"transcript": TEXT})
    by_model = await gateway.chat(TEXT, model="pipeline/quarrel")
    for answer, param in ((by_path, None), (by_model, "model")):
        error = answer.json()["error"]
        assert (answer.status, error["param"]) == (404, param)
        assert "debate" in error["message"]


async def test_a_key_without_the_pipeline_is_a_403(gateway: Gateway) -> None:
    narrow = await gateway.worker.services.keys.create(gateway.tenant, models=["small"])
    headers = {"Authorization": f"Bearer {narrow.secret}"}
    by_path = await gateway.post("/v1/pipelines/debate", {"transcript": TEXT}, **headers)
    by_model = await gateway.chat(TEXT, headers=headers, model="pipeline/debate")
    for answer in (by_path, by_model):
        assert (answer.status, answer.json()["error"]["code"]) == (403, "model_not_allowed")
    assert gateway.provider.requests == []


async def test_a_key_with_the_pipeline_but_not_a_hinted_model_gets_a_partial_result(gateway: Gateway) -> None:
    script(gateway)
    key = await gateway.worker.services.keys.create(gateway.tenant, models=["pipeline/debate", "small"])
    answer = await gateway.post(
        "/v1/pipelines/debate",
        {"transcript": TEXT, "model_hints": HINTS},
        Authorization=f"Bearer {key.secret}",
    )
    result = answer.json()
    assert result["status"] == "partial"
    assert result["steps"]["fallacy"]["error"]["code"] == "model_not_allowed"


async def test_a_bad_run_is_a_400_that_names_the_field(gateway: Gateway) -> None:
    bodies: list[tuple[Json, str]] = [
        ({}, "transcript"),
        ({"transcript": " \n"}, "transcript"),
        ({"transcript": 7}, "transcript"),
        ({"transcript": TEXT, "steps": ["guess"]}, "steps"),
        ({"transcript": TEXT, "steps": []}, "steps"),
        ({"transcript": TEXT, "model": "pipeline/debate"}, "model"),
        ({"transcript": TEXT, "model_hints": {"analysis": "pipeline/debate"}}, "model_hints"),
        ({"transcript": TEXT, "surprise": 1}, "surprise"),
    ]
    for body, param in bodies:
        answer = await gateway.post("/v1/pipelines/debate", body)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert gateway.provider.requests == []


async def test_a_run_whose_deadline_passes_keeps_what_was_done(gateway: Gateway) -> None:
    script(gateway, fallacy=said(FALLACY, gate="never"))
    answer = await debate_by(gateway, deadline_ms=300)
    result = answer.json()
    assert result["status"] == "partial"
    assert result["steps"]["analysis"]["status"] == "ok"
    assert result["steps"]["fallacy"]["error"]["code"] == "deadline_exceeded"
    late = next(index for index, seen in enumerate(gateway.provider.requests) if seen.json()["model"] == "up-large")
    await gateway.provider.wait_for_hang_up(late)


async def debate_by(gateway: Gateway, *, deadline_ms: int) -> Answer:
    body = {"transcript": TEXT, "model_hints": HINTS}
    return await gateway.post("/v1/pipelines/debate", body, **{"x-foreword-deadline-ms": str(deadline_ms)})
