"""Settings: who beats whom, and that every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.print_config import describe
from gateway.setting_types import Address
from gateway.settings import (
    NOT_FLAGS,
    Settings,
    SettingsError,
    load_settings,
    without_password,
)


def problems_of(
    *, flags: dict[str, str | bool] | None = None, environment: dict[str, str] | None = None, config: Path | None = None
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags=flags or {}, environment=environment or {}, config=config)
    return caught.value.problems


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = tmp_path / "foreword.yaml"
    config.write_text("port: 1\nworkers: 1\ndrain_s: 1.5\n")
    environment = {"FOREWORD_PORT": "2", "FOREWORD_WORKERS": "2"}
    loaded = load_settings(flags={"port": "3"}, environment=environment, config=config)
    settings = loaded.settings
    assert (settings.port, settings.workers, settings.drain_s, settings.host) == (3, 2, 1.5, "127.0.0.1")
    assert loaded.origins == {"port": "--port", "workers": "FOREWORD_WORKERS", "drain_s": f"{config}:3: drain_s"}


def test_every_setting_is_read_from_the_environment_and_named_when_wrong() -> None:
    anything_goes = {"host", "data_dir"}
    for name in Settings.model_fields.keys() - NOT_FLAGS - anything_goes:
        (problem,) = problems_of(environment={f"FOREWORD_{name.upper()}": "no such thing"})
        assert problem.startswith(f"FOREWORD_{name.upper()}: ")
    environment = {f"FOREWORD_{name.upper()}": "elsewhere" for name in anything_goes}
    assert load_settings(flags={}, environment=environment).origins.keys() == anything_goes


def test_an_unknown_variable_with_our_prefix_is_an_error() -> None:
    (problem,) = problems_of(environment={"FOREWORD_PORTS": "1"})
    assert problem.startswith("FOREWORD_PORTS: unknown setting")
    (problem,) = problems_of(environment={"FOREWORD_port": "1"})
    assert problem.startswith("FOREWORD_port: unknown setting")


def test_a_bad_file_value_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "foreword.yaml"
    config.write_text("host: 127.0.0.1\nport: eighty\nprot: 80\nadmin_key: hunter22\nworkers: true\n")
    problems = problems_of(config=config)
    assert any(text.startswith(f"{config}:2: port: eighty: ") for text in problems)
    assert any(text.startswith(f"{config}:3: prot: unknown setting") for text in problems)
    assert any(text.startswith(f"{config}:4: admin_key: ") for text in problems)
    assert any(text.startswith(f"{config}:5: workers: ") for text in problems)
    assert len(problems) == 4
    assert "hunter22" not in "".join(problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- port\n", "should be a mapping"),
        ("port: 1\nport: 2\n", ":2: port"),
        ("port: [\n", "foreword.yaml:"),
    ],
)
def test_a_file_that_is_no_mapping_of_settings_is_refused(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "foreword.yaml"
    config.write_text(text)
    assert said in "\n".join(problems_of(config=config))


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = problems_of(environment={"FOREWORD_CONFIG": str(tmp_path / "absent.yaml")})
    assert "absent.yaml" in problem


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings(flags={}, environment={"FOREWORD_PORT": "", "REDIS_URL": ""}).origins == {}


def test_redis_url_is_read_and_our_own_name_beats_it() -> None:
    both = {"REDIS_URL": "redis://a", "FOREWORD_REDIS_URL": "redis://b"}
    assert load_settings(flags={}, environment={"REDIS_URL": "redis://a"}).settings.redis_url == "redis://a"
    assert load_settings(flags={}, environment=both).settings.redis_url == "redis://b"
    (problem,) = problems_of(environment={"REDIS_URL": "http://user:hunter22@host"})
    assert problem.startswith("REDIS_URL: should start with redis://")
    assert "hunter22" not in problem


def test_a_kubernetes_service_link_is_explained() -> None:
    problems = problems_of(
        environment={"FOREWORD_PORT": "tcp://10.0.0.1:80", "FOREWORD_PORT_80_TCP": "tcp://10.0.0.1:80"}
    )
    assert len(problems) == 2
    assert all("enableServiceLinks: false" in problem for problem in problems)


def test_the_admin_key_comes_from_the_environment_or_a_file_but_not_both(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    assert "admin_key" in NOT_FLAGS
    by_file = load_settings(flags={"admin_key_file": str(file)}, environment={}).settings.admin_key
    by_name = load_settings(flags={}, environment={"FOREWORD_ADMIN_KEY": "by-name"}).settings.admin_key
    assert by_file is not None
    assert by_name is not None
    assert (by_file.get_secret_value(), by_name.get_secret_value()) == ("from-a-file", "by-name")
    assert problems_of(flags={"admin_key_file": str(file)}, environment={"FOREWORD_ADMIN_KEY": "x"})
    file.write_text("\n")
    assert "empty" in problems_of(flags={"admin_key_file": str(file)})[0]


def test_nothing_shown_holds_a_secret() -> None:
    environment = {
        "FOREWORD_ADMIN_KEY": "hunter22",
        "REDIS_URL": "redis://user:hunter22@example.test:6379/0",
        "OPENAI_API_KEY": "sk-hunter22",
    }
    loaded = load_settings(flags={}, environment=environment)
    shown = "\n".join(describe(loaded)) + repr(loaded) + str(loaded.settings)
    assert "hunter22" not in shown
    assert "redis://***@example.test:6379/0" in shown
    assert "FOREWORD_ADMIN_KEY" not in loaded.settings.environment
    assert loaded.settings.environment["OPENAI_API_KEY"] == "sk-hunter22"


def test_the_printed_configuration_is_a_configuration_file(tmp_path: Path) -> None:
    flags: dict[str, str | bool] = {
        "ops_bind": "[::1]:9090",
        "max_body_bytes": "3MiB",
        "warmer": False,
        "data_dir": str(tmp_path / "it's here"),
        "redis_timeout_s": "0.00001",
    }
    first = load_settings(flags=flags, environment={})
    config = tmp_path / "printed.yaml"
    config.write_text("\n".join(describe(first)))
    again = load_settings(flags={}, environment={}, config=config)
    assert again.settings == first.settings
    assert again.settings.ops_bind == Address("::1", 9090)
    assert again.settings.max_body_bytes == 3 * 1024**2


@pytest.mark.parametrize("bind", ["9090", ":9090", "localhost:", "localhost:http", "localhost:70000"])
def test_a_bind_that_is_no_host_and_port_is_refused(bind: str) -> None:
    (problem,) = problems_of(flags={"ops_bind": bind})
    assert problem.startswith(f"--ops-bind: {bind}: should be HOST:PORT")


def test_a_url_without_password_stays_as_it_is() -> None:
    assert without_password("unix:///run/redis.sock") == "unix:///run/redis.sock"
