"""onnxruntime is loaded without the telemetry that it sends by default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.settings import process_environment

OPEN = """
import os, sys
from pathlib import Path
from gateway.embedder.minilm import MiniLM

MiniLM.load(Path(sys.argv[1])).encode(["Who moderates the debate?"])
print(len(os.listdir("/proc/self/task")))
"""
WHERE_IT_KEEPS_QUIET = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "TRAVIS", "JENKINS_URL", "ORT_DISABLE_TELEMETRY")


def _run(script: str, home: Path, *arguments: str) -> int:
    """Run `script` with a home of its own, as outside of CI; return the number that it prints."""
    environment = {k: v for k, v in process_environment().items() if k not in WHERE_IT_KEEPS_QUIET}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "OPENBLAS_NUM_THREADS": "1"}
    command = (sys.executable, "-c", script, *arguments)
    return int(subprocess.run(command, capture_output=True, check=True, env=environment, timeout=120).stdout)


def _kept(home: Path) -> list[str]:
    return [str(found.relative_to(home)) for found in home.rglob("*") if found.is_file()]


def test_a_loaded_model_has_no_uploader_and_no_identifier_of_this_host(tmp_path: Path, minilm_directory: Path) -> None:
    assert _run(OPEN, tmp_path, str(minilm_directory)) == 1
    assert _kept(tmp_path) == []
