"""Modules import alone, in an interpreter that has none of ours loaded, asking nothing of the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import process_environment
from tests.arch.house import ROOT, module_name, source_files
from tests.arch.import_probe import Result

EVERY = tuple(module_name(path) for path in source_files())
SHARE = 4
"""Importing one module alone takes 0.15 s; each run takes every fourth, another quarter when a module is added."""
MODULES = tuple(name for at, name in enumerate(EVERY) if at % SHARE == len(EVERY) % SHARE)


@pytest.fixture(scope="module")
def probed() -> dict[str, Result]:
    """Run the probe once for this run's modules."""
    script = Path(__file__).with_name("import_probe.py")
    command = (sys.executable, "-I", str(script), str(ROOT), *MODULES)
    # As `foreword` itself begins (gateway.settings.keep_libraries_single_threaded).
    environment = {**process_environment(), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("CI", None)  # libraries behave themselves where they see it
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert finished.returncode == 0, finished.stderr
    results: dict[str, Result] = json.loads(finished.stdout)
    return results


def test_modules_import_alone_opening_no_socket_and_starting_no_thread(probed: dict[str, Result]) -> None:
    assert {name for name in MODULES if name not in probed} == set()
    assert {name: result["error"] for name, result in probed.items() if result["error"]} == {}
    assert {name: result["events"] for name, result in probed.items() if result["events"]} == {}
    assert {name for name, result in probed.items() if result["threads"] != 1} == set()


def test_policies_never_load_litellm(probed: dict[str, Result]) -> None:
    assert [name for name, result in probed.items() if name.startswith("policies") and result["needs_litellm"]] == []


def test_the_probe_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    guilty = tmp_path / "guilty"
    guilty.mkdir()
    (guilty / "__init__.py").touch()
    (guilty / "broken.py").write_text("raise RuntimeError('at import')")
    (guilty / "caller.py").write_text("import socket\nsocket.socket().close()")
    (guilty / "threaded.py").write_text("import threading\nthreading.Thread(target=threading.Event().wait).start()")
    (guilty / "ordered.py").write_text("import sys\nassert 'guilty.caller' in sys.modules")
    names = ("guilty.broken", "guilty.caller", "guilty.threaded", "guilty.ordered", "guilty")
    script = Path(__file__).with_name("import_probe.py")
    command = (sys.executable, "-I", str(script), str(tmp_path), *names)
    results: dict[str, Result] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "at import" in (results["guilty.broken"]["error"] or "")
    assert "socket.__new__" in results["guilty.caller"]["events"][0]
    assert results["guilty.threaded"]["threads"] == 2
    assert results["guilty.ordered"]["error"] is not None
    assert results["guilty"] == Result(needs_litellm=False, error=None, events=[], threads=1)
