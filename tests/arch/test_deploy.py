"""deploy/ says what the product does: the files parse, the image keeps to the locks, nothing is open to the network."""

from __future__ import annotations

import re
import subprocess

from policies.document import parse
from tests.arch.house import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def _services() -> dict[str, dict[str, object]]:
    path = DEPLOY / "compose.yaml"
    compose = _mapping(parse(path.read_text("utf-8"), source=str(path)).value)
    return {name: _mapping(service) for name, service in _mapping(compose["services"]).items()}


def test_every_port_of_compose_is_published_on_loopback_alone() -> None:
    published = [port for service in _services().values() for port in _strings(service.get("ports", []))]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_redis_may_only_evict_what_has_a_time_to_live_and_survives_a_restart() -> None:
    command = " ".join(_strings(_services()["redis"]["command"]))
    assert "--maxmemory-policy volatile-lru" in command
    assert "--appendonly yes" in command


def test_prometheus_scrapes_the_gateway_where_it_listens() -> None:
    path = DEPLOY / "prometheus" / "prometheus.yml"
    jobs = _mapping(parse(path.read_text("utf-8"), source=str(path)).value)["scrape_configs"]
    assert isinstance(jobs, list)
    gateway = next(job for job in map(_mapping, jobs) if job["job_name"] == "foreword")
    assert gateway["metrics_path"] == "/metrics"
    (port,) = re.findall(r"^ENV FOREWORD_PORT=(\d+)$", DOCKERFILE, re.MULTILINE)
    assert isinstance(gateway["static_configs"], list)
    assert [_mapping(static)["targets"] for static in gateway["static_configs"]] == [[f"gateway:{port}"]]


def test_the_image_installs_from_the_locks_with_hashes_and_runs_without_root() -> None:
    from_registry = [
        line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if "install" in line and "--no-index" not in line
    ]
    assert from_registry
    assert [line for line in from_registry if "--require-hashes" not in line or ".lock" not in line] == []
    assert re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE) == ["10001"]


def test_the_context_of_the_image_is_an_allow_list() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert lines[0] == "*"
    assert [name for line in lines if line.startswith("!") and not (ROOT / (name := line[1:])).exists()] == []


def test_the_rehearsal_is_a_valid_script() -> None:
    for script in (DEPLOY / "rehearse.sh", ROOT / ".ci" / "run"):
        subprocess.run(("bash", "-n", str(script)), check=True)
        assert script.stat().st_mode & 0o111
