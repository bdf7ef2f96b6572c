"""`foreword policy explain` and `policy diff`: what they print, and what their exit codes say. No gateway runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import run

MODELS = """
model_list:
  - {model_name: small, litellm_params: {model: simulated/gpt-4o-mini}}
  - {model_name: large, litellm_params: {model: simulated/gpt-4o}}
"""
POLICY = """
version: 1
policy: default
routes:
  - {name: task, match: {tag: "task=*"}, candidates: [large, small], objective: {minimise: cost}}
  - {name: chat, match: {any: true}, candidates: [requested]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "default.yaml").write_text(POLICY)
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "request.json").write_text(json.dumps({"model": "x", "messages": [{"role": "user", "content": "hi"}]}))
    return tmp_path


def explained(home: Path, *options: str) -> int:
    files = ("--policies", str(home), "--models", str(home / "models.yaml"), "--request", str(home / "request.json"))
    return run(["policy", "explain", *files, *options])


def test_explain_says_who_is_asked_and_why_and_what_each_would_cost(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(home, "--tags", "task=claims", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["route"], shown["reason"].partition(":")[0]) == ("task", "cheapest")
    assert [(row["group"], row["place"]) for row in shown["considered"]] == [("large", 2), ("small", 1)]
    dear, cheap = (row["expected_cost_usd"] for row in shown["considered"])
    assert dear > cheap > 0
    assert explained(home, "--tags", "task=claims", "--unhealthy", "small") == 0
    assert "unhealthy" in capsys.readouterr().out


def test_explain_says_what_a_budget_that_is_nearly_used_up_takes_off_the_plan(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = "budgets: [{scope: tenant, limit_usd: 1, window: day}]\nroutes:"
    (home / "default.yaml").write_text(POLICY.replace("routes:", budget))

    def shown(left: str, code: int) -> dict[str, object]:
        assert explained(home, "--tags", "task=claims", "--budget-left", left, "--json") == code
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    assert shown("1", 0)["budget"] == "the budget that is left covers the whole plan"
    narrow = shown("0.02", 0)
    assert narrow["budget"] == "narrowed by a budget: large dropped, 1 attempt at most, 0.02 USD left"
    assert isinstance(narrow["considered"], list)
    rows = [(row["group"], row["place"], row["code"]) for row in narrow["considered"]]
    assert rows == [("large", None, "budget"), ("small", 1, "")]
    assert shown("0.000001", 1)["budget"] == "refused by a budget: 0.000001 USD left"
    (home / "default.yaml").write_text(POLICY)
    assert shown("1", 0)["budget"] == "no budget applies on this route"
    assert explained(home, "--tags", "task=claims") == 0
    assert "budget" not in capsys.readouterr().out


def test_explain_fails_where_no_model_may_serve_and_for_a_request_that_is_none(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(home) == 1
    assert "unknown_model" in capsys.readouterr().out
    (home / "request.json").write_text("[]")
    assert explained(home) == 2
    assert "request.json" in capsys.readouterr().err


def test_diff_prints_the_keys_that_differ_and_refuses_a_bad_file(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = home / "default.yaml", home / "new.yaml"
    new.write_text(POLICY.replace("[large, small], objective", "[small], objective"))
    assert run(["policy", "diff", str(old), str(new), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"key": "routes.task.candidates", "old": "[large, small]", "new": "[small]"}
    ]
    assert run(["policy", "diff", str(old), str(old)]) == 0
    assert "nothing differs" in capsys.readouterr().out
    new.write_text(POLICY.replace("candidates", "candidate"))
    assert run(["policy", "diff", str(old), str(new)]) == 2
    assert "new.yaml:5: routes[0].candidate:" in capsys.readouterr().err
