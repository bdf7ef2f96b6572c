"""Which embedder a gateway gets: what cannot run is off before the first worker starts, and never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.clock import SystemClock
from gateway.embedder.connect import local_embedder
from gateway.embedder.job import with_embedder
from gateway.settings import Settings, SettingsError, load_settings
from gateway.supervisor import Supervisor


def _settings(data_dir: Path, **flags: str) -> Settings:
    return load_settings(flags={"data_dir": str(data_dir), **flags}, environment={}).settings


def _is_connected(settings: Settings) -> bool:
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=lambda name, error: None)
    return local_embedder(settings, supervisor=supervisor, clock=clock, on_transition=lambda _: None) is not None


@pytest.mark.parametrize("name", ["minilm", "minilm-float32"])
def test_minilm_is_a_process_of_its_own_without_which_the_gateway_goes_on(tmp_path: Path, name: str) -> None:
    with capture_logs() as logs:
        settings, jobs = with_embedder(_settings(tmp_path, redis_url="redis://127.0.0.1:1", embedder=name))
    assert settings.embedder == name
    assert [(job.name, job.is_vital) for job in jobs] == [("embedder", False)]
    assert (tmp_path / "embedder").stat().st_mode & 0o777 == 0o700
    assert logs == []
    assert _is_connected(settings)


def test_without_redis_the_tier_is_off_with_one_warning(tmp_path: Path) -> None:
    with capture_logs() as logs:
        settings, jobs = with_embedder(_settings(tmp_path))
    assert (settings.embedder, jobs) == ("off", ())
    assert [line["log_level"] for line in logs] == ["warning"]
    assert not _is_connected(settings)


def test_a_place_that_cannot_be_used_turns_the_tier_off_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "embedder").write_text("a file")
    with capture_logs() as logs:
        settings, jobs = with_embedder(_settings(tmp_path, redis_url="redis://127.0.0.1:1"))
    assert (settings.embedder, jobs) == ("off", ())
    assert [line["log_level"] for line in logs] == ["warning"]


@pytest.mark.parametrize("name", ["off", "litellm:some-group"])
def test_others_need_no_process(tmp_path: Path, name: str) -> None:
    given = _settings(tmp_path, redis_url="redis://127.0.0.1:1", embedder=name)
    assert with_embedder(given) == (given, ())
    assert not _is_connected(given)


@pytest.mark.parametrize(
    ("name", "why"), [("hashing", "is for tests"), ("litellm:", "minilm-float32"), ("bert", "off")]
)
def test_what_is_no_embedder_is_refused_by_name(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"--embedder: {name}.*{why}"):
        _settings(tmp_path, embedder=name)
