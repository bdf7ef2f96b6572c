"""Pipeline files: the shipped one loads, and a wrong one is told where and why."""

from __future__ import annotations

import pytest

from gateway.pipelines.spec import load_pipeline, shipped_pipelines
from policies.document import DocumentError
from router.simulation import cues
from tests.unit.gateway.pipelines.scripted import YAML, pipeline


def problem_of(old: str, new: str) -> str:
    assert old in YAML
    with pytest.raises(DocumentError) as caught:
        load_pipeline(YAML.replace(old, new), source="small.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("fanout: parallel", "fanout: merged", "small.yaml:5: fanout: 'merged': parallel or leader_follower"),
        ("fanout: parallel", "fan_out: parallel", "small.yaml:5: fan_out: 'parallel': no such key here"),
        ("needs: [one, two]", "needs: [one, tow]", "steps[2].needs[1]: tow: one of one, two, three"),
        ("name: two", "name: one", "steps[1].name: one: a step name used once"),
        ("needs: [one, two]", "needs: [three]", "steps that do not need each other in a circle"),
        ("optional: true", "model: pipeline/small", "a step cannot run a pipeline"),
        ("quotes: [claims]", "quotes: [claim]", "steps[0].quotes[0]: claim: one of claims, summary"),
        ("summary: {type: string}", "summary: {type: text}", "a valid JSON Schema"),
        ("max: 900", "max: 300", "must be min < target < max"),
        ("{claims: {rule: merge, by: [span]}, ", "{", "a rule for claims"),
        ("input: transcript", "input: audio", "small.yaml:4: input: 'audio'"),
        ("system: Analyse.", "", "system: missing"),
        ("optional: true", "segments: 4", "no such key here"),
    ],
)
def test_a_wrong_file_is_told_where_and_what_would_be_right(old: str, new: str, expected: str) -> None:
    assert expected in problem_of(old, new)


def test_another_text_has_another_key_version() -> None:
    assert pipeline().key_version != pipeline(**{"Task one.": "Task 1."}).key_version


def test_the_shipped_debate_runs_analysis_and_fallacy_and_verdict_when_asked() -> None:
    debate = shipped_pipelines()["debate"]
    assert [step.name for step in debate.selection(None)] == ["analysis", "fallacy"]
    assert [step.name for step in debate.selection(("verdict",))] == ["analysis", "fallacy", "verdict"]


def test_the_simulated_catalogue_is_the_shipped_one() -> None:
    schema = shipped_pipelines()["debate"].step("fallacy").output_schema
    assert f"'enum': {list(cues.FALLACIES)!r}" in repr(schema)
