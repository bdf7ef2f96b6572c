from __future__ import annotations

import pytest

from policies.document import DocumentError
from policies.load import load_models

MODELS = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, input_cost_per_token: 1e-06}
    model_info: {mode: chat}
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o
      api_version: 2024-02-01
    tpm: 5
litellm_settings: {drop_params: true}
router_settings: {}
"""


def test_a_litellm_configuration_is_read_unchanged() -> None:
    models = load_models(MODELS, source="m.yaml")
    first, second = models.entries
    assert (first.model_name, first.model_info, first.line) == ("gpt-4o", {"mode": "chat"}, 2)
    assert first.litellm_params == {
        "model": "openai/gpt-4o",
        "api_key": "os.environ/OPENAI_API_KEY",
        "input_cost_per_token": 1e-06,
    }
    assert second.litellm_params["api_version"] == "2024-02-01"
    assert models.groups == {"gpt-4o"}


def test_what_is_not_read_of_a_litellm_configuration_is_named() -> None:
    ignored = load_models(MODELS, source="m.yaml").ignored_sections
    assert ignored == ("litellm_settings", "router_settings", "model_list[1].tpm")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("5", "m.yaml:2: model_list[0]: int: must be a mapping with model_name and litellm_params"),
        ("{litellm_params: {model: a/b}}", "m.yaml:2: model_list[0].model_name: missing: required"),
        ("{model_nam: x, litellm_params: {model: a/b}}", "model_name: missing: required; did you mean model_nam?"),
        ("{model_name: x}", "m.yaml:2: model_list[0].litellm_params: missing: required"),
        ("{model_name: 5, litellm_params: {model: a/b}}", "model_name: 5: must be text: printable ASCII"),
        ('{model_name: "a\\r\\nb: c", litellm_params: {model: a/b}}', "must be text: printable ASCII"),
        ("{model_name: requested, litellm_params: {model: a/b}}", "must not be empty, nor `requested`"),
        ("{model_name: x, litellm_params: {}}", "litellm_params.model: missing or not text: required"),
        ("{model_name: x, litellm_params: [sk-1]}", "litellm_params: list: must be a mapping"),
        ("{model_name: x, litellm_params: {model: a/b}, model_info: 5}", "model_info: not a mapping"),
    ],
)
def test_a_wrong_models_entry_says_what_would_be_right(entry: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_models(f"model_list:\n  - {entry}\n", source="m.yaml")
    (problem,) = caught.value.problems
    assert expected in str(problem)


def test_a_secret_in_a_wrong_entry_is_not_repeated() -> None:
    text = "model_list:\n  - model_name: x\n    litellm_params: {model: 5, api_key: sk-secret}\n"
    with pytest.raises(DocumentError) as caught:
        load_models(text, source="m.yaml")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "a: 1", "model_list: []", "model_list: {}"])
def test_a_models_file_without_deployments_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match=r"m\.yaml:1: model_list: "):
        load_models(text, source="m.yaml")
