"""The command line: what it prints, where, and its exit codes. Keys live in a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import policies
from gateway.banner import Standing, curl_line, print_banner, url_of
from gateway.cli import run
from gateway.clock import SystemClock
from gateway.findings import Findings
from gateway.keys import Keys
from gateway.setting_types import Address
from gateway.settings import process_environment
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor


@pytest.fixture(autouse=True)
def own_environment(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the process environment is changed: it is an input of the command line."""
    for name in process_environment():
        if name.startswith("FOREWORD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REDIS_URL", redis_url)


@pytest.fixture
def empty_data_dir() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fw-") as folder:
        yield folder


def identified(url: str, secret: str) -> str | None:
    async def ask() -> str | None:
        supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
        store = RedisStore(url, supervisor=supervisor, timeout_s=5.0)
        caller = await Keys(store, SystemClock()).identify(secret)
        await store.close()
        await supervisor.close(1.0)
        return None if caller is None else caller.tenant

    return asyncio.run(ask())


def test_a_key_is_created_listed_and_revoked(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["keys", "create", "--tenant", "acme", "--name", "bot", "--models", "small, large", "--json"]
    assert run(arguments) == 0
    created = json.loads(capsys.readouterr().out)
    assert (created["tenant"], created["name"], created["models"]) == ("acme", "bot", ["small", "large"])
    assert identified(redis_url, created["key"]) == "acme"

    assert run(["keys", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert created["key"] not in listed
    (record,) = [one for one in json.loads(listed) if one["id"] == created["id"]]
    assert record["revoked_at"] is None

    assert run(["keys", "revoke", created["id"]]) == 0
    assert identified(redis_url, created["key"]) is None
    assert run(["keys", "list"]) == 0
    assert "revoked" in capsys.readouterr().out


def test_without_json_the_key_stands_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("sk-fw-")
    assert len(captured.out.split()) == 1
    assert captured.out.strip() not in captured.err


def test_an_unknown_key_id_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "revoke", "key-none"]) == 1
    assert "key-none: no such key" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--tenant", "a b"], ["--tenant", ""], ["--models", "a,,b"]])
def test_a_wrong_key_option_is_a_usage_error(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", *wrong]) == 2
    assert capsys.readouterr().err.startswith(wrong[0])


def test_a_redis_that_is_not_there_is_a_failure_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "list", "--redis-url", "redis://127.0.0.1:1"]) == 1
    assert "Redis cannot be used" in capsys.readouterr().err


def test_without_a_gateway_or_url_the_private_redis_is_started_and_keeps_the_key(
    empty_data_dir: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDIS_URL")
    assert run(["keys", "create", "--name", "kept", "--data-dir", empty_data_dir]) == 0
    assert run(["keys", "list", "--json", "--data-dir", empty_data_dir]) == 0
    assert '"kept"' in capsys.readouterr().out


def test_print_config_shows_values_and_origins_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOREWORD_ADMIN_KEY", "hunter22")
    monkeypatch.setenv("FOREWORD_WORKERS", "3")
    assert run(["serve", "--print-config", "--port", "9", "--no-warmer"]) == 0
    out = capsys.readouterr().out
    assert "port: 9  # --port\n" in out
    assert "workers: 3  # FOREWORD_WORKERS\n" in out
    assert "warmer: false  # --warmer\n" in out
    assert "hunter22" not in out


def test_bad_settings_are_all_named_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOREWORD_NONSENSE", "1")
    assert run(["serve", "--port", "99999"]) == 2
    err = capsys.readouterr().err
    assert "FOREWORD_NONSENSE: unknown setting" in err
    assert "--port: 99999: " in err


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["serve", "--admin-key", "x"], ["keys"], ["keys", "revoke"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert caught.value.code == 2
    assert "usage: foreword" in capsys.readouterr().err


def test_the_shipped_policies_pass_lint_and_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "lint"]) == 0
    capsys.readouterr()
    assert run(["policy", "show", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["rollouts"]
    assert run(["policy", "show"]) == 0
    shown = capsys.readouterr().out
    for row in found["routes"]:
        assert row["policy"] in shown
        assert row["route"] in shown


def test_a_bad_policy_is_named_with_its_line_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "default.yaml").write_text("policy: default\nroutess: []\n")
    arguments = ["--policies", str(tmp_path)]
    assert run(["policy", "lint", *arguments]) == 1
    assert f"{tmp_path}/default.yaml:2: routess" in capsys.readouterr().err
    assert run(["policy", "show", *arguments]) == 1
    assert run(["policy", "lint", *arguments, "--json"]) == 1
    captured = capsys.readouterr()
    assert {problem["line"] for problem in json.loads(captured.out)} >= {2}


def test_a_key_that_nothing_reads_is_noted_and_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(policies.__file__).parent
    bot = (folder / "debate-bot.yaml").read_text().replace("{type: quality_floor, ", "{type: quality_floor, k: 9, ")
    (tmp_path / "debate-bot.yaml").write_text(bot)
    (tmp_path / "default.yaml").write_text((folder / "default.yaml").read_text())
    arguments = ["--policies", str(tmp_path)]
    assert run(["policy", "lint", *arguments]) == 0
    assert "selector.k: 9: is not read" in capsys.readouterr().out
    assert run(["policy", "lint", *arguments, "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)
    assert note["is_note"]


def test_help_needs_none_of_the_heavy_libraries() -> None:
    heavy = ("litellm", "aiohttp", "pydantic", "redis", "prometheus_client", "yaml")
    code = (
        "import sys\nfrom gateway.cli import run\n"
        "try:\n  run(['--help'])\nexcept SystemExit as ended:\n  assert ended.code == 0\n"
        f"assert not [name for name in {heavy} if name in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert "serve" in done.stdout


def test_the_commands_process_exits_with_the_code() -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--port", "x"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 2
    assert done.stderr.startswith("--port: x: ")


def banner(findings: Findings, *, host: str = "127.0.0.1") -> str:
    console = Console(width=60, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the test
    standing = Standing(
        listening=[Address(host, 8080)],
        metrics=Address(host, 8080),
        workers=2,
        redis="private, in /data",
        version="1.2.3",
        is_open_to_loopback=False,
    )
    with console.file:
        print_banner(console, standing, findings)
    return console.export_text()


def test_the_banner_names_what_was_found_and_left_out() -> None:
    findings = Findings(
        providers=("openai",),
        left_out=("claude (anthropic/x): ANTHROPIC_API_KEY is not set",),
        unread=("small@openai: max_parallel_requests",),
        models=("small",),
        example_model="small",
        policies=("default (abc)",),
        ignored_sections=("general_settings",),
    )
    text = banner(findings)
    for part in ("http://127.0.0.1:8080 (2 workers)", "openai", "ANTHROPIC_API_KEY is not set", "default (abc)"):
        assert part in text
    assert "general_settings" in text
    assert "not read   small@openai: max_parallel_requests" in text
    assert "SIMULATED" not in text
    assert "foreword keys create" in text
    assert "$FOREWORD_API_KEY" in text


def test_the_banner_says_once_and_clearly_that_answers_are_simulated() -> None:
    text = banner(Findings(providers=("simulated",), is_simulated=True, models=("small",), example_model="small"))
    assert text.count("SIMULATED") == 1


def test_the_curl_line_survives_a_narrow_terminal_and_a_quote_in_a_name() -> None:
    text = banner(Findings(models=("it's",), example_model="it's", secret="sk-fw-x"), host="::")
    line = curl_line("http://[::1]:8080", key="sk-fw-x", model="it's")
    assert line in text
    said = subprocess.run(
        ["/bin/sh", "-c", 'curl() { for word; do printf "%s\\n" "$word"; done; }\n' + line],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert said[0] == "http://[::1]:8080/v1/chat/completions"
    assert said[2] == "Authorization: Bearer sk-fw-x"
    assert json.loads(said[-1])["model"] == "it's"


def test_a_wildcard_address_is_shown_as_one_that_can_be_reached() -> None:
    assert url_of(Address("0.0.0.0", 80)) == "http://127.0.0.1:80"
