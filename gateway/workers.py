"""`serve`: listen once, start the private Redis, fork the workers and the warmer, and end them all in order.

The parent must have no thread, event loop, Redis or HTTP client before it forks.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import structlog
from pydantic import SecretStr
from rich.console import Console

from gateway.banner import Standing, print_banner, redis_in_words
from gateway.clock import SystemClock
from gateway.crew import Crew
from gateway.data_dir import EmbeddedRedisFailed
from gateway.documents import read_documents
from gateway.forking import has_lost_terminal, threads_here, watching
from gateway.job import Hooks, Job, RestartRules
from gateway.keys import new_secret
from gateway.listening import CannotServe, allow_many_connections, listen
from gateway.logs import configure_logs
from gateway.orders import Ground, Orders, Parts
from gateway.setting_types import Address
from gateway.settings import Settings, export_metrics_dir, keep_libraries_single_threaded
from gateway.stores.embedded import EmbeddedRedis, EmbeddedRedisUnavailable
from gateway.version import installed_version
from policies.document import DocumentError

EXIT_FAILURE = 1
EXIT_CONFIG = 2


def serve(
    settings: Settings,
    *,
    reread: Callable[[], Settings] | None = None,
    parts: Parts | None = None,
    rules: RestartRules | None = None,
    console: Console | None = None,
) -> int:
    """Run the gateway until SIGTERM or SIGINT and return its exit code: 0 ended as asked, 1 failed, 2 bad config.

    SIGHUP replaces the workers with ones that know the settings of `reread` (raises SettingsError; None: the same ones)
    and the models and policies as they lie there then. `parts` None imports the real ones, before forking, so that the
    workers share their memory.
    """
    configure_logs(settings.log_level)
    keep_libraries_single_threaded()
    out = console or Console()
    with ExitStack() as stack:
        try:
            return _serve(settings, reread or (lambda: settings), parts, rules or RestartRules(), out, stack)
        except (CannotServe, EmbeddedRedisFailed) as error:
            _complain(f"foreword: {error}")
            return EXIT_FAILURE
        except DocumentError as error:
            _complain(*map(str, error.problems))
            return EXIT_CONFIG


def _serve(
    settings: Settings,
    reread: Callable[[], Settings],
    given: Parts | None,
    rules: RestartRules,
    console: Console,
    stack: ExitStack,
) -> int:
    signals = stack.enter_context(watching())
    allow_many_connections()
    listening = stack.enter_context(ExitStack())
    sockets = _listen(Address(settings.host, settings.port), "port", listening)
    ops_sockets = _listen(settings.ops_bind, "ops-bind", listening) if settings.ops_bind else []
    stack.enter_context(_own_directory(settings.data_dir))
    metrics = _prepare_metrics(settings.data_dir)
    redis = _private_redis(settings, stack) if settings.redis_url is None else None
    ground = Ground(
        parts=given or _real_parts(),
        sockets=sockets,
        ops_sockets=ops_sockets,
        reread=reread,
        adapt=_adaptation(settings, redis),
        with_helpers=_with_helpers,
    )
    findings = (orders := Orders(settings, read_documents(settings), ground=ground)).examine()
    if findings.problems:
        _complain(*findings.problems)
        return EXIT_CONFIG
    print_banner(console, _standing(orders.settings, sockets, ops_sockets, is_embedded=redis is not None), findings)
    jobs = orders.jobs()
    _check_threads()
    hooks = Hooks(
        on_end=partial(_forget_process, metrics),
        on_stop=listening.close,  # while workers drain, a socket open here would take callers whom nobody answers
        tick=_Tick(orders, redis),
        reload=orders.reload,
        is_hangup=partial(has_lost_terminal, os.isatty(0)),
    )
    crew = Crew(jobs, clock=SystemClock(), drain_s=lambda: orders.settings.drain_s, rules=rules, hooks=hooks)
    return crew.run(signals)


def _complain(*problems: str) -> None:
    for problem in problems:
        Console(stderr=True).print(problem, markup=False, highlight=False, soft_wrap=True)


def _check_threads() -> None:
    """A lock that another thread holds while this one forks stays locked in the child for ever."""
    count = threads_here()
    if count > 1:
        structlog.get_logger().error("the parent has threads; a forked worker may hang", threads=count)


def _private_redis(settings: Settings, stack: ExitStack) -> EmbeddedRedis | None:
    """Start a Redis of our own, if there is a binary."""
    try:
        redis = EmbeddedRedis.start(settings.data_dir)
    except EmbeddedRedisUnavailable as lacking:
        structlog.get_logger().warning(
            "no Redis: one worker, no warmer; keys, cache and ledger end with it", why=str(lacking)
        )
        return None
    stack.callback(redis.stop)
    return redis


def _adaptation(settings: Settings, redis: EmbeddedRedis | None) -> Callable[[Settings], Settings]:
    """Fit settings to the Redis found: without any, one worker keeps everything in its memory, and one key is made."""
    if settings.redis_url is not None:
        return lambda given: given
    if redis is None:
        update = {"workers": 1, "warmer": False, "first_secret": SecretStr(new_secret())}
        return lambda given: given.model_copy(update=update)

    def adapt(given: Settings) -> Settings:
        return given.model_copy(update={"redis_url": redis.url, "is_alone": given.workers == 1})

    return adapt


def _with_helpers(settings: Settings) -> tuple[Settings, Sequence[Job]]:
    if settings.embedder == "off":  # then numpy, 16 MB, is not needed either
        return settings, ()
    with_embedder: Callable[[Settings], tuple[Settings, Sequence[Job]]]
    with_embedder = importlib.import_module("gateway.embedder.job").with_embedder
    return with_embedder(settings)


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


def _forget_process(directory: Path, pid: int) -> None:
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


class _Tick:
    """Follows the policies, and starts the private Redis again when it has died; says so once each time it cannot."""

    def __init__(self, orders: Orders, redis: EmbeddedRedis | None) -> None:
        self._orders = orders
        self._redis = redis
        self._is_failing = False

    def __call__(self) -> None:
        self._orders.follow()
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
