"""A real `python -m gateway serve` and a scripted provider, each in a process of its own. No product code."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway.settings import process_environment
from tests.provider import Reply

BOUND_S = 60.0
STEP_S = 0.02
POLICY = """
version: 1
policy: default
routes:
  - {name: ROUTE, match: {any: true}, candidates: [requested], cache: {exact_ttl: 1h, max_temperature: null}}
"""
MODELS = """
model_list:
  - {model_name: gpt-4o-mini, litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: counted, litellm_params: {model: simulated/gpt-4o-mini}}
  - {model_name: pretend, litellm_params: {model: simulated/gpt-4o-mini}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: str


def until(check: Callable[[], bool], what: str, *, alive: subprocess.Popen[bytes] | None = None) -> None:
    """Return once `check` holds; AssertionError naming `what` after a minute or once `alive` has ended."""
    for _ in range(int(BOUND_S / STEP_S)):
        if check():
            return
        assert alive is None or alive.poll() is None, f"the process ended while waiting for {what}"
        time.sleep(STEP_S)
    raise AssertionError(f"not within {BOUND_S:g} s: {what}")


def request(url: str, path: str, *, key: str = "", body: object = None, **headers: str) -> Got:
    """Send one request on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=BOUND_S)
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    if key:
        named["Authorization"] = f"Bearer {key}"
    with contextlib.closing(connection):
        data = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, body=data, headers=named)
        answer = connection.getresponse()
        text = answer.read().decode()
        return Got(status=answer.status, headers={n.lower(): v for n, v in answer.getheaders()}, body=text)


@dataclass(slots=True, kw_only=True)
class Served:
    """One gateway and its data directory; `start` and `stop` may be repeated."""

    home: Path
    environment: dict[str, str]
    url: str = ""
    key: str = ""
    banners: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()

    @property
    def policy_file(self) -> Path:
        return self.home / "policies" / "default.yaml"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, **environment: str) -> None:
        """Start `serve` and return once it has printed its banner and answers."""
        with (self.home / "out").open("wb") as out, (self.home / "err").open("ab") as err:
            arguments = ["--port", "0", "--workers", "2", "--no-warmer", "--simulated-latency-scale", "0"]
            arguments += [] if "--embedder" in self.options else ["--embedder", "off"]
            self.process = subprocess.Popen(
                [*COMMAND, "serve", *arguments, *self.flags(), *self.options],
                stdout=out,
                stderr=err,
                env={**self.environment, **environment},
            )
        until(lambda: "\ncurl " in self.printed(), "the banner", alive=self.process)
        banner = self.printed()
        self.banners.append(banner)
        self.url = re.findall(r"listens on (http://\S+)", banner)[0]
        if (made := re.search(r"shown only now: (\S+)", banner)) is not None:
            self.key = made[1]
        until(self.is_ready, "readiness", alive=self.process)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.wait(BOUND_S)

    def flags(self) -> list[str]:
        names = {
            "data-dir": self.home / "data",
            "policies": self.home / "policies",
            "models": self.home / "models.yaml",
        }
        return [part for name, path in names.items() for part in (f"--{name}", str(path))]

    def printed(self) -> str:
        return (self.home / "out").read_text()

    def logged(self) -> str:
        return (self.home / "err").read_text()

    def is_ready(self) -> bool:
        try:
            return request(self.url, "/health/ready").status == 200
        except OSError:
            return False

    def workers(self) -> set[int]:
        """Return the pids of the worker processes."""
        listing = ["ps", "-o", "pid=,comm=", "--ppid", str(self.pid)]
        found = subprocess.run(listing, capture_output=True, text=True, check=False)
        pairs = [line.split(None, 1) for line in found.stdout.splitlines()]
        return {int(pid) for pid, command in pairs if "redis" not in command and "defunct" not in command}

    def chat(self, text: str, *, model: str = "gpt-4o-mini", key: str | None = None, **fields: object) -> Got:
        """Send one chat request."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return request(self.url, "/v1/chat/completions", key=self.key if key is None else key, body=body)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the gateway on the same data directory."""
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, env=self.environment, timeout=BOUND_S, check=False
        )


def is_refused(url: str) -> bool:
    """Whether a new client is turned away at once; one that had to wait would be worse than one that is refused."""
    try:
        request(url, "/health/ready")
    except ConnectionError:
        return True
    return False


COMMAND = (sys.executable, "-m", "gateway")


@contextlib.contextmanager
def serving(
    *, policy: str = POLICY.replace("ROUTE", "first"), models: str = MODELS, options: tuple[str, ...] = ()
) -> Iterator[Served]:
    """Start a gateway with these files and more flags of `serve`; stop it in the end."""
    ours = ("FOREWORD_", "OPENAI_", "ANTHROPIC_", "OPENROUTER_", "GEMINI_", "REDIS_")
    environment = {name: value for name, value in process_environment().items() if not name.startswith(ours)}
    # Not pytest's tmp_path: a unix socket's path may have 107 bytes at most.
    home = Path(tempfile.mkdtemp(prefix="fw-e2e-"))
    (home / "policies").mkdir()
    served = Served(home=home, environment=environment, options=options)
    served.policy_file.write_text(policy)
    (home / "models.yaml").write_text(models)
    try:
        served.start()
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.process.terminate()
            try:
                served.process.wait(BOUND_S)
            except subprocess.TimeoutExpired:
                served.process.kill()
        shutil.rmtree(home, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class RemoteProvider:
    """tests/provider.py in a process of its own."""

    origin: str

    def script(self, model: str, *replies: Reply) -> None:
        """Queue replies for `model`."""
        plain = [{name: getattr(reply, name) for name in SCRIPTABLE} for reply in replies]
        self._told("/control/script", {"model": model, "replies": plain})

    def open_gate(self, name: str) -> None:
        """Let what waits at `name` go on."""
        self._told(f"/control/gates/{name}", {})

    def requests(self) -> list[dict[str, object]]:
        """Return everything that was asked so far."""
        seen: list[dict[str, object]] = json.loads(self._told("/control/requests", {}))
        return seen

    def _told(self, path: str, body: object) -> str:
        got = request(self.origin, path, body=body)
        assert got.status == 200, got
        return got.body


SCRIPTABLE = ("status", "words", "gate", "gate_at")


@contextlib.contextmanager
def remote_provider() -> Iterator[RemoteProvider]:
    """Run a scripted provider in another process."""
    root = str(Path.cwd())
    environment = {**process_environment(), "PYTHONPATH": os.pathsep.join((root, str(Path(root) / "tests")))}
    process = subprocess.Popen(
        [sys.executable, str(Path(root) / "tests" / "provider.py")], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        yield RemoteProvider(origin=process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait(BOUND_S)
        assert process.stdout is not None
        process.stdout.close()
