"""The processes of a benchmark: gateway, warmer, bare proxy, LiteLLM's proxy, provider, load generator.

Each on the core that the measurement gives it; all are ended with the block that began them. Measures nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gateway.embedder.home import EmbedderHome
from gateway.settings import SHIPPED, process_environment
from tests.bench.bare import KEY as BARE_KEY
from tests.bench.machine import LOAD_CORE, SERVER_CORE, command_of, name_of, pin, pinned, tree
from tests.bench.orders import Load, Told
from tests.bench.payloads import MODEL
from tests.e2e.serving import BOUND_S, request, until

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".venv-peers" / "bin" / "litellm"
PEER_KEY = "sk-bench-litellm"
OURS = ("FOREWORD_", "OPENAI_", "ANTHROPIC_", "OPENROUTER_", "GEMINI_", "REDIS_", "LITELLM_", "PROMETHEUS_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server under test. `pids` are its own processes; `redis`, `warmer` and `embedder` are counted apart."""

    name: str
    port: int
    key: str
    pids: tuple[int, ...]
    redis: tuple[int, ...] = ()
    warmer: tuple[int, ...] = ()
    embedder: tuple[int, ...] = ()
    home: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True, kw_only=True)
class Process:
    """A child that prints its port, or talks in lines."""

    popen: subprocess.Popen[bytes]
    port: int = 0

    @property
    def pids(self) -> tuple[int, ...]:
        return tree(self.popen.pid)


@dataclass(slots=True, kw_only=True)
class Generator:
    """The load generator."""

    process: Process
    problems: list[str] = field(default_factory=list)

    def run(self, load: Load) -> Told:
        """Run one load to its end."""
        pipe_in, pipe_out = self.process.popen.stdin, self.process.popen.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(msgspec.json.encode(load) + b"\n")
        pipe_in.flush()
        return msgspec.json.decode(pipe_out.readline(), type=Told)


def environment() -> dict[str, str]:
    """Return this process's environment without anything that would set up a gateway or a provider."""
    kept = {name: value for name, value in process_environment().items() if not name.startswith(OURS)}
    return {**kept, "PYTHONPATH": str(ROOT)}


@contextmanager
def running(command: Sequence[str], *, core: int, talks: bool = False, out: Path | None = None) -> Iterator[Process]:
    """Start a process on `core`; end it with the block. Without `out` its standard output is a pipe."""
    with ExitStack() as stack:
        sink = subprocess.PIPE if out is None else stack.enter_context(out.open("wb"))
        errors = None if out is None else stack.enter_context(out.with_suffix(".err").open("ab"))
        with pinned(core):
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=sink,
                stderr=errors,
                env=environment(),
                cwd=ROOT,
            )
        try:
            yield Process(popen=popen)
        finally:
            popen.terminate()
            try:
                popen.wait(BOUND_S)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
            for pipe in (popen.stdin, popen.stdout):
                if pipe is not None:
                    pipe.close()


@contextmanager
def telling_its_port(module: str, *arguments: str, core: int) -> Iterator[Process]:
    """Start one of our own modules, which prints the port it listens on."""
    with running([sys.executable, "-m", module, *arguments], core=core) as process:
        assert process.popen.stdout is not None
        line = process.popen.stdout.readline()
        assert line.strip(), f"{module} ended before it listened"
        process.port = int(line)
        yield process


@contextmanager
def provider() -> Iterator[Process]:
    """Start the provider."""
    with telling_its_port("tests.bench.upstream", core=LOAD_CORE) as process:
        yield process


@contextmanager
def generator() -> Iterator[Generator]:
    """Start a load generator."""
    with running([sys.executable, "-m", "tests.bench.load"], core=LOAD_CORE, talks=True) as process:
        yield Generator(process=process)


@contextmanager
def bare(upstream: Process) -> Iterator[Server]:
    """Start the yardstick."""
    with telling_its_port("tests.bench.bare", str(upstream.port), core=SERVER_CORE) as process:
        yield Server(name="bare", port=process.port, key=BARE_KEY, pids=process.pids)


def models_yaml(upstream: Process, *, deployments: int = 1, more: str = "") -> str:
    """Return a model_list: the benchmark's model, with a published price, at the provider, under so many keys."""
    base = f'model: openai/{MODEL}, api_base: "http://127.0.0.1:{upstream.port}/v1"'
    rows = [
        f"  - {{model_name: {MODEL}, litellm_params: {{{base}, api_key: sk-upstream-{number}}}}}\n"
        for number in range(deployments)
    ]
    return f"model_list:\n{''.join(rows)}{more}"


@contextmanager
def gateway(
    upstream: Process,
    *options: str,
    name: str = "gateway",
    workers: int = 1,
    models: str = "",
    policy: str = "",
    command: Sequence[str] = ("-m", "gateway"),
) -> Iterator[Server]:
    """Start a real `foreword serve` as shipped: keys, policies, cache, ledger, metrics, access log, its own Redis.

    Its warmer runs beside it as `foreword warm`, so that it can be measured apart; its start, three seconds of the
    load's core, is over before anything is measured.
    """
    home = Path(tempfile.mkdtemp(prefix="fw-bench-"))  # short: a unix socket's path may have 107 bytes at most
    try:
        (home / "policies").mkdir()
        (home / "models.yaml").write_text(models or models_yaml(upstream))
        (home / "policies" / "default.yaml").write_text(policy or (SHIPPED / "default.yaml").read_text())
        files = ["--data-dir", str(home / "data"), "--policies", str(home / "policies")]
        files += ["--models", str(home / "models.yaml")]
        serve = [sys.executable, *command, "serve", "--port", "0", "--workers", str(workers), "--no-warmer", *files]
        serve += ["--redis-timeout-s", "1"]  # a busy machine is no fault of Redis
        with running([*serve, *options], core=SERVER_CORE, out=home / "out") as process:
            banner = _banner(home / "out", process)
            port = urlsplit(re.findall(r"listens on (http://\S+)", banner)[0]).port or 0
            key = re.findall(r"shown only now: (\S+)", banner)[0]
            until(lambda: _is_ready(port), "the gateway's readiness", alive=process.popen)
            redis, embedder = _helpers(process, None if "off" in options else EmbedderHome.of(home / "data"))
            warm = [sys.executable, "-m", "gateway", "warm", *files]
            with running(warm, core=LOAD_CORE, out=home / "warm") as warmer:
                until(lambda: b"warmer leads" in (home / "warm.err").read_bytes(), "the warmer", alive=warmer.popen)
                own = tuple(pid for pid in process.pids if pid not in redis + embedder)
                yield Server(
                    name=name,
                    port=port,
                    key=key,
                    pids=own,
                    redis=redis,
                    warmer=warmer.pids,
                    embedder=embedder,
                    home=home,
                )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _helpers(process: Process, home: EmbedderHome | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the pids of Redis and of the embedder, moved to the load's core; its model takes seconds to load."""
    if home is not None:
        until(home.socket.exists, "the embedder", alive=process.popen)
    redis = tuple(pid for pid in process.pids if "redis" in name_of(pid))
    embedder = tuple(pid for pid in process.pids if "gateway.embedder" in command_of(pid))
    pin((*redis, *embedder), LOAD_CORE)
    return redis, embedder


def _banner(out: Path, process: Process) -> str:
    until(lambda: "\ncurl " in out.read_text(), "the gateway's banner", alive=process.popen)
    return out.read_text()


def _is_ready(port: int) -> bool:
    try:
        return request(f"http://127.0.0.1:{port}", "/health/ready").status == 200
    except OSError:
        return False


def is_peer_installed() -> bool:
    """Whether `make bench-peers` has been run."""
    return os.access(PEER, os.X_OK)


@contextmanager
def litellm(upstream: Process) -> Iterator[Server]:
    """Start LiteLLM's proxy from its own virtual environment, with a master key and its memory cache."""
    home = Path(tempfile.mkdtemp(prefix="fw-peer-"))
    try:
        config = home / "config.yaml"
        config.write_text(
            models_yaml(upstream)
            + "litellm_settings: {cache: true, cache_params: {type: local}}\n"
            + f"general_settings: {{master_key: {PEER_KEY}}}\n"
        )
        port = free_port()
        command = [str(PEER), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--telemetry", "False"]
        with running(command, core=SERVER_CORE, out=home / "out") as process:
            until(lambda: _is_alive(port), "LiteLLM's proxy", alive=process.popen)
            yield Server(name="litellm", port=port, key=PEER_KEY, pids=process.pids, home=home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _is_alive(port: int) -> bool:
    try:
        return request(f"http://127.0.0.1:{port}", "/health/liveliness").status == 200
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
