from __future__ import annotations

from pathlib import Path

import pytest

import policies
from policies.lint import lint, notes
from tests.unit.policies.examples import MINIMAL

FOLDER = Path(policies.__file__).parent
MODELS = "model_list:\n  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o}}\n"


def lines(directory: Path) -> list[str]:
    found = lint(directory, directory / "models.yaml")
    return [str(problem).removeprefix(f"{directory}/") for problem in found]


def test_the_shipped_files_have_no_problem() -> None:
    assert lint(FOLDER, FOLDER / "models.yaml") == ()
    assert notes(FOLDER, FOLDER / "models.yaml") == ()


def test_every_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "default.yaml").write_text(MINIMAL.replace("[requested]", "[gpt-4]"))
    (tmp_path / "other.yaml").write_text(MINIMAL.replace("policy: example", "policy: Other"))
    assert lines(tmp_path) == [
        "other.yaml:2: policy: Other: must be lower-case letters, digits and . _ - (64 at most, not a sign first)",
        "default.yaml:6: routes[0].candidates[0]: gpt-4: unknown alias or model; did you mean gpt-4o?",
    ]


def test_a_bad_models_file_is_told_once_and_not_for_every_name(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("model_list: 5")
    (tmp_path / "default.yaml").write_text(MINIMAL.replace("[requested]", "[gpt-4o]") + "hedge: {}\n")
    assert [line.split(": ")[:2] for line in lines(tmp_path)] == [
        ["models.yaml:1", "model_list"],
        ["default.yaml:7", "hedge"],
    ]


def test_missing_files_are_problems_not_errors(tmp_path: Path) -> None:
    sources = [Path(problem.source).name for problem in lint(tmp_path / "absent", tmp_path / "models.yaml")]
    assert sources == ["models.yaml", "absent"]


FLOOR = """
version: 1
policy: default
models: {top: {group: gpt-4o, quality_prior: {any: 0.9}, reference: true}}
routes:
  - name: all
    match: {any: true}
    candidates: [top]
    objective: {minimise: cost, quality: {floor: 0.9, of: reference}}
    selector: SELECTOR
    cache: CACHE
"""


@pytest.mark.parametrize(
    ("selector", "cache", "keys"),
    [
        ("{type: quality_floor, k: 7}", "{exact_ttl: 1h}", ["default.yaml:10: routes[0].selector.k: 7"]),
        (
            "{type: quality_floor, k: 100, min_similarity: 0.6}",
            "{semantic: off}",
            ["default.yaml:10: routes[0].selector.k: 100", "default.yaml:10: routes[0].selector.min_similarity: 0.6"],
        ),
        ("{type: quality_floor, k: 7}", "{exact_ttl: 1h, semantic: {}}", []),
        ("{type: quality_floor, control: 0.1}", "{exact_ttl: 1h}", []),
    ],
)
def test_neighbours_are_noted_on_a_route_whose_questions_have_no_vector(
    tmp_path: Path, selector: str, cache: str, keys: list[str]
) -> None:
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "default.yaml").write_text(FLOOR.replace("SELECTOR", selector).replace("CACHE", cache))
    assert lines(tmp_path) == []
    noted = [str(note).removeprefix(f"{tmp_path}/") for note in notes(tmp_path, tmp_path / "models.yaml")]
    assert [note.rpartition(": is not read")[0] for note in noted] == keys
