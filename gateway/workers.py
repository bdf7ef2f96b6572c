"""`serve`: listen once, start the private Redis, fork the workers and the warmer, and end them all in order.

The parent must have no thread, event loop, Redis or HTTP client before it forks.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import importlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
import uvloop
from pydantic import SecretStr
from rich.console import Console

from gateway.banner import Standing, print_banner, redis_in_words
from gateway.clock import SystemClock
from gateway.crew import Crew, Job, RestartRules, fork, how_it_ended, watching
from gateway.data_dir import EmbeddedRedisFailed
from gateway.findings import Findings
from gateway.keys import new_secret
from gateway.logs import configure_logs
from gateway.setting_types import Address
from gateway.settings import Settings, export_metrics_dir, keep_libraries_single_threaded
from gateway.stores.embedded import EmbeddedRedis, EmbeddedRedisUnavailable
from gateway.version import installed_version

BACKLOG = 2048
EXIT_FAILURE = 1
EXIT_CONFIG = 2


class RunWorker(Protocol):
    """Serve on the sockets until SIGTERM and return the exit code: 2 for a configuration that no restart mends."""

    def __call__(
        self, settings: Settings, sockets: Sequence[socket.socket], *, worker: int, ops_sockets: Sequence[socket.socket]
    ) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the parent runs in its children."""

    run_worker: RunWorker
    run_warmer: Callable[[Settings], int]
    examine: Callable[[Settings], Findings]


class CannotServe(Exception):
    """The gateway cannot start; the message names what is in the way and what would help."""


def serve(
    settings: Settings, *, parts: Parts | None = None, rules: RestartRules | None = None, console: Console | None = None
) -> int:
    """Run the gateway until SIGTERM or SIGINT and return its exit code: 0 ended as asked, 1 failed, 2 bad config.

    `parts` None imports the real ones, before forking, so that the workers share their memory.
    """
    configure_logs(settings.log_level)
    out = console or Console()
    with ExitStack() as stack:
        try:
            return _serve(settings, parts, rules or RestartRules(), out, stack)
        except (CannotServe, EmbeddedRedisFailed) as error:
            Console(stderr=True).print(f"foreword: {error}", markup=False, highlight=False, soft_wrap=True)
            return EXIT_FAILURE


def _serve(settings: Settings, given: Parts | None, rules: RestartRules, console: Console, stack: ExitStack) -> int:
    signals = stack.enter_context(watching())
    listening = stack.enter_context(ExitStack())
    sockets = _listen(Address(settings.host, settings.port), "port", listening)
    ops_sockets = _listen(settings.ops_bind, "ops-bind", listening) if settings.ops_bind else []
    stack.enter_context(_own_directory(settings.data_dir))
    metrics = _prepare_metrics(settings.data_dir)
    redis = None
    if settings.redis_url is None:
        redis, settings = _private_redis(settings, stack)
    parts = given or _real_parts()
    keep_libraries_single_threaded()
    settings, embedder = importlib.import_module("gateway.embedder.job").with_embedder(settings)
    findings = _in_child(lambda: parts.examine(settings))
    if findings.problems:
        for problem in findings.problems:
            Console(stderr=True).print(problem, markup=False, highlight=False, soft_wrap=True)
        return EXIT_CONFIG
    console_standing = _standing(settings, sockets, ops_sockets, is_embedded=redis is not None)
    print_banner(console, console_standing, findings)
    gc.collect()
    gc.freeze()  # pages of what is imported stay shared: a collection in a worker would write to all of them
    crew = Crew(
        [*_jobs(settings, parts, sockets, ops_sockets), *embedder],
        clock=SystemClock(),
        drain_s=settings.drain_s,
        rules=rules,
        on_end=lambda pid: _forget_process(pid, metrics),
        on_stop=listening.close,  # while workers drain, a socket open here would take callers whom nobody answers
        tick=_Reviver(redis),
    )
    return crew.run(signals)


def _private_redis(settings: Settings, stack: ExitStack) -> tuple[EmbeddedRedis | None, Settings]:
    """Start a Redis of our own; without a binary, settle for one worker that keeps everything in its memory."""
    try:
        redis = EmbeddedRedis.start(settings.data_dir)
    except EmbeddedRedisUnavailable as lacking:
        structlog.get_logger().warning(
            "no Redis: one worker, no warmer; keys, cache and ledger end with it", why=str(lacking)
        )
        update = {"workers": 1, "warmer": False, "first_secret": SecretStr(new_secret())}
        return None, settings.model_copy(update=update)
    stack.callback(redis.stop)
    # One worker on a Redis of its own has nobody to wait for.
    alone = {"lease_wait_s": 0.0} if settings.workers == 1 else {}
    return redis, settings.model_copy(update={"redis_url": redis.url, **alone})


def listen(address: Address, *, setting: str) -> list[socket.socket]:
    """Bind and listen on every address that `host` stands for; port 0 takes one free port for all of them.

    Raises CannotServe; `setting` is the flag that the message names.
    """
    sockets: list[socket.socket] = []
    port = address.port
    try:
        found = socket.getaddrinfo(address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in dict.fromkeys(found):
            made = socket.socket(family, kind, protocol)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((where[0], port, *where[2:]))
            made.listen(BACKLOG)
            made.setblocking(False)
            port = made.getsockname()[1]
    except OSError as error:
        for made in sockets:
            made.close()
        raise CannotServe(_why_not(address, port, setting, error)) from error
    return sockets


def _why_not(address: Address, port: int, setting: str, error: OSError) -> str:
    place = f"cannot listen on {address.host}:{port}"
    variable = f"FOREWORD_{setting.upper().replace('-', '_')}"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: something else listens there; stop it, or choose another with --{setting} ({variable})"
    if error.errno == errno.EACCES:
        return f"{place}: not permitted; ports below 1024 need privileges: choose another with --{setting} ({variable})"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{place}: this machine has no such address; 127.0.0.1 is this machine alone, 0.0.0.0 all its addresses"
    return f"{place}: {error.strerror or error}"


def _listen(address: Address, setting: str, stack: ExitStack) -> list[socket.socket]:
    sockets = listen(address, setting=setting)
    for made in sockets:
        stack.callback(made.close)
    return sockets


def _real_parts() -> Parts:
    """Import the heavy libraries; prometheus_client among them, so the metrics directory is known by now."""
    keep_libraries_single_threaded()
    app = importlib.import_module("gateway.app")
    warm = importlib.import_module("gateway.warm")
    bootstrap = importlib.import_module("gateway.bootstrap")
    return Parts(run_worker=app.run_worker, run_warmer=warm.run_warmer, examine=bootstrap.examine)


def _jobs(
    settings: Settings, parts: Parts, sockets: Sequence[socket.socket], ops_sockets: Sequence[socket.socket]
) -> list[Job]:
    def worker(number: int) -> Callable[[], int]:
        def run() -> int:
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
            return parts.run_worker(settings, sockets, worker=number, ops_sockets=ops_sockets)

        return run

    def warmer() -> int:
        for made in (*sockets, *ops_sockets):
            made.close()
        return parts.run_warmer(settings)

    jobs = [Job(name=f"worker {number}", run=worker(number), is_vital=True) for number in range(settings.workers)]
    if settings.warmer:
        jobs.append(Job(name="warmer", run=warmer, is_vital=False))
    return jobs


def _in_child(run: Callable[[], Findings]) -> Findings:
    """Run `run` in a child of its own, where it may make event loops and clients, and return what it found."""
    reader, writer = os.pipe()

    def report() -> int:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(msgspec.json.encode(run()))
        return 0

    pid = fork(report)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise CannotServe(f"looking at the configuration failed ({how_it_ended(code)}); the lines above say why")
    return msgspec.json.decode(said, type=Findings)


@contextmanager
def _own_directory(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this gateway alone; a record lock, because children do not inherit those."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotServe(f"data_dir: {data_dir}: {error.strerror}: must be a directory that can be written") from error
    try:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotServe(
                f"data_dir: {data_dir}: another gateway uses it; stop that one, or give this one its own --data-dir"
            ) from error
        yield
    finally:
        os.close(lock)


def _prepare_metrics(data_dir: Path) -> Path:
    directory = data_dir / "metrics"
    directory.mkdir(mode=0o700, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink()
    export_metrics_dir(directory)
    return directory


def _forget_process(pid: int, directory: Path) -> None:
    importlib.import_module("gateway.metrics").forget_process(pid, directory)


def _standing(
    settings: Settings, sockets: Sequence[socket.socket], ops_sockets: Sequence[socket.socket], *, is_embedded: bool
) -> Standing:
    listening = [_address(made) for made in sockets]
    return Standing(
        listening=listening,
        metrics=_address(ops_sockets[0]) if ops_sockets else listening[0],
        workers=settings.workers,
        redis=redis_in_words(settings, is_embedded=is_embedded),
        version=installed_version(),
        is_open_to_loopback=settings.allow_unauthenticated_loopback,
    )


def _address(made: socket.socket) -> Address:
    host, port = made.getsockname()[:2]
    return Address(host, port)


class _Reviver:
    """Starts the private Redis again when it has died; says so once each time it cannot."""

    def __init__(self, redis: EmbeddedRedis | None) -> None:
        self._redis = redis
        self._is_failing = False

    def __call__(self) -> None:
        if self._redis is None:
            return
        log = structlog.get_logger()
        try:
            if self._redis.revive():
                log.warning("redis-server had ended and was started again")
            self._is_failing = False
        except (EmbeddedRedisFailed, EmbeddedRedisUnavailable) as error:
            if not self._is_failing:
                log.error("redis-server has ended and does not start", why=str(error))
            self._is_failing = True
