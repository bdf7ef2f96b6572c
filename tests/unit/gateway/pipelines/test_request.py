"""What callers may ask of a pipeline, and how a chat becomes a transcript."""

from __future__ import annotations

import pytest

from gateway.pipelines.request import BadRunRequest, RunRequest, answer_form, read_chat_run, read_run, transcript_of
from tests.unit.gateway.pipelines.scripted import pipeline


def read(document: dict[str, object]) -> RunRequest:
    return read_run(document, pipeline(), run_id="r", default_model="m", deadline_s=None)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({}, "transcript"),
        ({"transcript": 7}, "transcript"),
        ({"transcript": " \n"}, "transcript"),
        ({"transcript": "a \ud800"}, "transcript"),
        ({"transcript": "a", "steps": ["nine"]}, "steps"),
        ({"transcript": "a", "steps": []}, "steps"),
        ({"transcript": "a", "model_hints": {"nine": "m"}}, "model_hints"),
        ({"transcript": "a", "model_hints": {"one": "pipeline/small"}}, "model_hints"),
        ({"transcript": "a", "model": "pipeline/small"}, "model"),
        ({"transcript": "a", "stream": "yes"}, "stream"),
        ({"transcript": "a", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_request_names_its_parameter(document: dict[str, object], param: str) -> None:
    with pytest.raises(BadRunRequest) as caught:
        read(document)
    assert caught.value.param == param


def test_the_pipelines_own_deadline_caps_the_callers() -> None:
    made = pipeline()
    found = [
        read_run({"transcript": "a"}, made, run_id="r", default_model="m", deadline_s=wish).deadline_s
        for wish in (None, 5.0, 500.0)
    ]
    assert found == [20.0, 5.0, 20.0]


def test_one_message_is_the_transcript() -> None:
    messages = [{"role": "system", "content": "Be nice."}, {"role": "user", "content": "ANN: hi\nBOB: no"}]
    assert transcript_of(messages) == "ANN: hi\nBOB: no"


def test_the_newest_message_with_turns_is_the_transcript() -> None:
    messages = [
        {"role": "user", "content": "Please look at this:"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [{"type": "text", "text": "ANN: hi"}, {"type": "text", "text": "BOB: no"}]},
    ]
    assert transcript_of(messages) == "ANN: hi\nBOB: no"


def test_a_channel_of_messages_becomes_turns() -> None:
    messages = [
        {"role": "user", "name": "ann", "content": "Trams are quiet."},
        {"role": "user", "name": "bob", "content": "They are loud."},
    ]
    assert transcript_of(messages) == "ann: Trams are quiet.\nbob: They are loud."


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "system", "content": "x"}], [{"role": "user", "content": [{"type": "image_url"}]}], ["x", 3]],
)
def test_a_chat_without_a_transcript_is_refused(messages: list[object]) -> None:
    with pytest.raises(BadRunRequest) as caught:
        read_chat_run({"messages": messages}, pipeline(), run_id="r", default_model="m", deadline_s=None)
    assert caught.value.param in ("messages", "transcript")


def test_a_callers_own_schema_is_refused_and_json_is_not() -> None:
    assert answer_form({}) == "markdown"
    assert answer_form({"response_format": {"type": "json_object"}}) == "json"
    with pytest.raises(BadRunRequest):
        answer_form({"response_format": {"type": "json_schema", "json_schema": {}}})
