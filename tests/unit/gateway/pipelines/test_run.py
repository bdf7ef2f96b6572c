"""Running a pipeline: errors are values, quotes are checked, one repair, followers wait for their leader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from gateway.clock import SystemClock
from gateway.pipelines.events import RunEvents
from gateway.pipelines.markdown import chat_content
from gateway.pipelines.ports import StepAsk, StepError
from gateway.pipelines.report import PipelineReport, StepReport
from gateway.pipelines.request import RunRequest
from gateway.pipelines.run import run_pipeline
from tests.unit.gateway.pipelines.scripted import BROKEN, GOOD, TEXT, Reply, Script, good, pipeline, run_request


async def ran(script: Script, request: RunRequest | None = None) -> PipelineReport:
    return await run_pipeline(request or run_request(), ask=script, clock=SystemClock())


def step_of(report: PipelineReport, name: str) -> StepReport:
    return {step.name: step for step in report.steps}[name]


def messages_of(ask: StepAsk) -> list[Mapping[str, str]]:
    messages = ask.body["messages"]
    assert isinstance(messages, list)
    return messages


LONG = "".join(f"{'ANN' if at % 2 else 'BOB'}: Sentence number {at} about trams and streets.\n" for at in range(120))


async def test_optional_steps_run_only_when_asked_for_and_bring_their_needs() -> None:
    script = Script(good)
    report = await ran(script)
    assert sorted(script.steps()) == ["one", "two"]
    assert report.status == "ok"
    script = Script(good)
    report = await ran(script, run_request(steps=("three",)))
    assert script.steps()[-1] == "three"
    assert step_of(report, "three").result == {"verdict": "even"}


async def test_a_failing_step_leaves_the_others_and_the_answer_is_partial() -> None:
    script = Script(lambda ask: BROKEN if ask.step == "one" else good(ask))
    report = await ran(script, run_request(steps=("three",)))
    assert report.status == "partial"
    assert [step.status for step in report.steps] == ["failed", "ok", "skipped"]
    assert step_of(report, "one").error == BROKEN
    assert "three" not in script.steps()


async def test_nothing_but_failures_is_failed() -> None:
    assert (await ran(Script(lambda _: BROKEN))).status == "failed"


async def test_a_required_step_that_fails_gives_up_what_still_runs() -> None:
    gate = asyncio.Event()
    script = Script(lambda _: BROKEN, gates={"two": gate})
    made = pipeline(**{"- name: one": "- name: one\n    required: true"})
    report = await ran(script, run_request(made, steps=("three",)))
    assert report.status == "failed"
    assert [step.status for step in report.steps] == ["failed", "cancelled", "cancelled"]
    assert script.at_once == 0


async def test_independent_steps_are_asked_at_the_same_time() -> None:
    gates = {"one": asyncio.Event(), "two": asyncio.Event()}
    script = Script(good, gates=gates)
    async with asyncio.TaskGroup() as group:
        group.create_task(ran(script))
        await script.until(2)
        for gate in gates.values():
            gate.set()
    assert script.most_at_once == 2


async def test_no_more_asks_at_once_than_max_parallel() -> None:
    script = Script(good)
    await ran(script, run_request(pipeline(**{"max_parallel: 8": "max_parallel: 3"}), transcript=LONG))
    assert len(script.asks) > 10
    assert script.most_at_once == 3


async def test_followers_start_at_the_leaders_first_token() -> None:
    gates = {"one": asyncio.Event()}
    script = Script(good, gates=gates)
    made = pipeline(**{"fanout: parallel": "fanout: leader_follower"})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ran(script, run_request(made)))
        await script.until(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert script.steps() == ["one"]
        script.first_tokens["one"]()
        await script.until(2)
        assert script.ended == []
        gates["one"].set()
    assert running.result().status == "ok"


async def test_a_leader_that_fails_lets_its_followers_go() -> None:
    made = pipeline(**{"fanout: parallel": "fanout: leader_follower", "max_parallel: 8": "max_parallel: 1"})
    report = await ran(Script(lambda ask: BROKEN if ask.step == "one" else GOOD), run_request(made, transcript=LONG))
    assert step_of(report, "one").status == "failed"
    assert step_of(report, "two").status == "ok"


async def test_an_answer_that_does_not_fit_is_repaired_once_with_the_errors_named() -> None:
    script = Script(lambda ask: GOOD if ask.is_repair or ask.step == "two" else '{"claims": []}')
    report = await ran(script)
    (repair,) = [ask for ask in script.asks if ask.is_repair]
    assert "'summary' is a required property" in messages_of(repair)[-1]["content"]
    assert messages_of(repair)[-2] == {"role": "assistant", "content": '{"claims": []}'}
    assert repair.cache_body != next(ask for ask in script.asks if ask.step == "one").cache_body
    body = step_of(report, "one").as_json()
    assert (body["status"], body["attempts"], body["cost_usd"]) == ("ok", 2, 0.000003)


async def test_two_answers_that_do_not_fit_are_an_error_value() -> None:
    script = Script(lambda ask: "no json" if ask.step == "one" else GOOD)
    error = step_of(await ran(script), "one").error
    assert error is not None
    assert error.code == "schema_mismatch"
    assert script.steps().count("one") == 2


async def test_a_fenced_answer_fits() -> None:
    report = await ran(Script(lambda _: f"```json\n{GOOD}\n```"))
    assert report.status == "ok"


async def test_the_deadline_is_an_error_value_and_the_others_stand() -> None:
    script = Script(good, gates={"one": asyncio.Event()})
    report = await ran(script, run_request(deadline_s=0.1))
    assert report.status == "partial"
    error = step_of(report, "one").error
    assert error is not None
    assert error.code == "deadline_exceeded"
    assert step_of(report, "two").status == "ok"
    assert script.at_once == 0


async def test_long_transcripts_are_asked_by_segment_and_merged_with_quotes_in_their_places() -> None:
    def first_sentence(ask: StepAsk) -> str:
        assert ask.segment is not None
        said = LONG[ask.segment.start : ask.segment.end].split("\n")[0].split(": ")[1]
        claims = [{"speaker": "?", "quote": said}, {"speaker": "ANN", "quote": "Nobody said this."}]
        return json.dumps({"claims": claims, "summary": f"s{ask.segment.index}"})

    step = step_of(await ran(Script(first_sentence), run_request(transcript=LONG)), "one")
    assert step.result is not None
    claims = step.result["claims"]
    assert isinstance(claims, list)
    assert len(claims) == step.segments > 5
    assert all(LONG[each["span"]["start"] : each["span"]["end"]] == each["quote"] for each in claims)
    assert {each["speaker"] for each in claims} <= {"ANN", "BOB"}
    assert step.dropped_quotes == step.segments
    assert step.result["summary"] == " ".join(f"s{at}" for at in range(step.segments))


async def test_one_failing_segment_makes_the_step_partial() -> None:
    report = await ran(
        Script(lambda ask: BROKEN if ask.segment and ask.segment.index == 1 else GOOD), run_request(transcript=LONG)
    )
    assert report.status == "partial"
    assert step_of(report, "one").status == "partial"
    assert step_of(report, "one").failed_segments == 1


async def test_an_appended_turn_asks_for_one_new_segment() -> None:
    before, after = Script(good), Script(good)
    await ran(before, run_request(transcript=LONG))
    await ran(after, run_request(transcript=LONG + "ANN: One more word.\n"))
    known = {json.dumps(ask.cache_body) for ask in before.asks}
    new = [ask.step for ask in after.asks if json.dumps(ask.cache_body) not in known]
    assert sorted(new) == ["one", "two"]


async def test_the_prompt_is_the_same_up_to_the_steps_own_part() -> None:
    script = Script(good)
    await ran(script)
    one, two = (messages_of(ask) for ask in script.asks)
    assert one[0] == two[0]
    shared = one[1]["content"].removesuffix("Task one.")
    assert two[1]["content"] == shared + "Task two."
    assert TEXT in shared


async def test_layout_changes_the_body_and_not_the_cache_body() -> None:
    plain, stamped = Script(good), Script(good)
    await ran(plain)
    await ran(stamped, run_request(transcript="[10:01] Ann: Trams  are quiet.\n[10:02] Bob: Trams are loud."))
    assert plain.asks[0].body != stamped.asks[0].body
    assert plain.asks[0].cache_body == stamped.asks[0].cache_body


async def test_spans_do_not_reach_the_steps_that_build_on_results() -> None:
    script = Script(good)
    await ran(script, run_request(steps=("three",)))
    content = messages_of(script.asks[-1])[1]["content"]
    assert '"quote": "Trams are quiet."' in content
    assert "span" not in content


async def test_model_hints_choose_a_steps_model() -> None:
    script = Script(good)
    await ran(script, run_request(model_hints={"two": "other"}))
    assert {ask.step: (ask.model, ask.body["model"]) for ask in script.asks} == {
        "one": ("m", "m"),
        "two": ("other", "other"),
    }


async def test_the_result_adds_up() -> None:
    body = (await ran(Script(good))).as_json()
    assert body["usage"] == {
        "prompt_tokens": 200,
        "completion_tokens": 20,
        "total_tokens": 220,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert (body["object"], body["id"], body["version"], body["cost_usd"]) == (
        "pipeline.result",
        "run-1",
        "7",
        0.000003,
    )


async def events_of(reply: Reply, transcript: str) -> tuple[list[str], PipelineReport | None]:
    run = RunEvents(run_request(transcript=transcript), ask=Script(reply), clock=SystemClock())
    async with run:
        names = [name async for name, _ in run.events()]
    return names, run.report


async def test_events_begin_with_started_and_end_with_the_result() -> None:
    names, report = await events_of(good, TEXT)
    assert names == ["step.started", "step.started", "step.completed", "step.completed", "pipeline.completed"]
    assert report is not None


async def test_segments_come_as_deltas() -> None:
    names, report = await events_of(good, LONG)
    assert report is not None
    assert names.count("step.delta") == sum(step.segments for step in report.steps)


async def test_leaving_the_events_gives_up_every_ask() -> None:
    script = Script(good, gates={"one": asyncio.Event(), "two": asyncio.Event()})
    async with RunEvents(run_request(), ask=script, clock=SystemClock()) as run:
        async for _ in run.events():
            break
        await script.until(2)
    assert script.at_once == 0


async def test_what_the_reader_of_the_events_raises_comes_out_as_it_is() -> None:
    script = Script(good, gates={"one": asyncio.Event(), "two": asyncio.Event()})

    async def hung_up_on() -> None:
        async with RunEvents(run_request(), ask=script, clock=SystemClock()):
            await script.until(2)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await hung_up_on()
    assert script.at_once == 0


async def test_markdown_and_json_answers_hold_what_was_found() -> None:
    report = await ran(Script(lambda ask: BROKEN if ask.step == "two" else good(ask)))
    text = chat_content(report, "markdown")
    assert "- ANN: “Trams are quiet.”" in text
    assert "*failed: no*" in text
    assert json.loads(chat_content(report, "json")) == report.as_json()


async def test_a_step_error_keeps_its_source() -> None:
    error = StepError(message="slow down", type="rate_limit_error", code="rate_limit_exceeded", source="provider")
    body = step_of(await ran(Script(lambda _: error)), "one").as_json()
    assert body["error"] == {
        "message": "slow down",
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "source": "provider",
    }
