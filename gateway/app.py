"""One worker: every part made once, wired, served, drained and closed in order. Nothing else constructs parts.

Mutable state and its owners: policies - PolicyBook; deployment health - LiteLLMDeployments; breakers, places, retry
budget and measured times - Attempts.traffic; calls in flight - InFlight; breaker hints - SharedHints;
answers in memory - ExactCache; verified keys - Keys; outcomes waiting - Ledger; series - Metrics; tasks - Supervisor.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import uvloop
from aiohttp import web

from gateway.breaker_hints import SharedHints
from gateway.cache.exact import ExactCache
from gateway.cache.inflight import InFlight
from gateway.cache.lease import Leases
from gateway.clock import SystemClock
from gateway.flow import Flow, Parts
from gateway.http.middlewares import outermost
from gateway.http.routes import CLIENT, ENDPOINTS, OPS, register
from gateway.http.server import GatewayRunner
from gateway.http.state import SERVICES, Services
from gateway.interactions import Interactions
from gateway.keys import Keys
from gateway.known_labels import known_labels
from gateway.lane import Transition
from gateway.ledger import Ledger
from gateway.logs import configure_logs, report_crash
from gateway.metrics import Metrics, watch_loop_lag
from gateway.outcome import Outcome
from gateway.pipelines.spec import shipped_pipelines
from gateway.settings import Settings, metrics_dir
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.traffic_watch import LOOK_S, TrafficWatch
from gateway.version import installed_version
from gateway.waits import waits_of
from policies.book import PolicyBook, Rejected, Reloaded
from policies.load import load_models
from router.attempts import Attempts
from router.backends import BackendSettings, make_backends
from router.deployments import LiteLLMDeployments
from router.facts import DoorLimits
from router.ports import Backend

POLICY_POLL_S: Final = 1.0
KEEPALIVE_S: Final = 75.0
CLOSE_S: Final = 5.0

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Worker:
    """Everything of one worker that must be started and closed."""

    services: Services
    supervisor: Supervisor
    store: RedisStore | MemoryStore
    ledger: Ledger
    backends: dict[str, Backend]
    inflight: InFlight
    hints: SharedHints
    watch: TrafficWatch
    runners: list[GatewayRunner]


def run_worker(
    settings: Settings, sockets: Sequence[socket.socket], *, worker: int, ops_sockets: Sequence[socket.socket] = ()
) -> int:
    """Serve on `sockets` until SIGTERM or SIGINT, then drain and return the exit code."""
    built = build(settings, access_log=configure_logs(settings.log_level), seed=worker)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(built, sockets, ops_sockets))
    return 0


async def _serve(built: Worker, sockets: Sequence[socket.socket], ops_sockets: Sequence[socket.socket]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    await start(built, sockets, ops_sockets)
    await stop.wait()
    await drain(built)


def build(settings: Settings, *, access_log: Callable[[Outcome], None], seed: int) -> Worker:
    """Make and wire every part. Reads files (blocking), opens no connection. Raises DocumentError for bad files."""
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=report_crash)
    deployments, book = _routing(settings)
    known = known_labels(book.current(), deployments.usable, endpoints=ENDPOINTS)
    metrics = Metrics(version=installed_version(), known=known, multiprocess_dir=metrics_dir())
    metrics.policy_loaded(book.current().version)
    store = _store(settings, clock, supervisor, metrics)
    ledger = Ledger(store, clock=clock, supervisor=supervisor, max_entries=settings.ledger_max_entries)
    sink = _sink(metrics, access_log, ledger)
    backends = _backends(settings, clock, deployments)
    prices = {deployment.id: deployment.price for deployment in deployments.usable}
    limits, rng = waits_of(settings), random.Random(seed)
    hints = SharedHints(store, clock=clock, known=prices)
    attempts = Attempts(deployments=deployments, backends=backends, clock=clock, rng=rng, limits=limits, hints=hints)
    parts = Parts(
        book=book,
        deployments=deployments,
        unhealthy=deployments.unhealthy,
        price_of=prices.get,
        attempts=attempts,
        exact=ExactCache(store, clock, max_bytes=settings.memory_cache_bytes),
        inflight=InFlight(supervisor, history_bytes=settings.max_answer_bytes),
        leases=Leases(store, clock, supervisor, wait_s=settings.lease_wait_s if settings.redis_url else 0.0),
        spawner=supervisor,
        clock=clock,
        sink=sink,
        rng=random.Random(seed),
    )
    return Worker(
        services=_services(settings, parts, deployments, store, metrics),
        supervisor=supervisor,
        store=store,
        ledger=ledger,
        backends=backends,
        inflight=parts.inflight,
        hints=hints,
        watch=TrafficWatch(attempts.traffic, deployments.usable, metrics),
        runners=[],
    )


def _services(
    settings: Settings, parts: Parts, deployments: LiteLLMDeployments, store: RedisStore | MemoryStore, metrics: Metrics
) -> Services:
    limits = DoorLimits(max_nesting_depth=settings.max_nesting_depth, max_messages=settings.max_messages)
    flow = Flow(parts)
    return Services(
        settings=settings,
        limits=limits,
        clock=parts.clock,
        keys=Keys(store, parts.clock),
        flow=flow,
        interactions=Interactions(
            shipped_pipelines(),
            flow=flow,
            catalogue=deployments.catalogue,
            limits=limits,
            clock=parts.clock,
            sink=parts.sink,
        ),
        book=parts.book,
        deployments=deployments,
        metrics=metrics,
        sink=parts.sink,
        report_crash=report_crash,
        details=lambda: details(parts.book, deployments, store, parts.inflight),
    )


def _routing(settings: Settings) -> tuple[LiteLLMDeployments, PolicyBook]:
    models = load_models(settings.models.read_text(encoding="utf-8"), source=str(settings.models))
    deployments = LiteLLMDeployments(models.entries, environment=settings.environment, simulate_missing=True)
    return deployments, PolicyBook(settings.policies, groups=models.groups, models_file=settings.models)


def _backends(settings: Settings, clock: SystemClock, deployments: LiteLLMDeployments) -> dict[str, Backend]:
    chosen = BackendSettings(
        max_answer_bytes=settings.max_answer_bytes,
        simulated_seed=settings.simulated_seed,
        simulated_latency_scale=settings.simulated_latency_scale,
    )
    return make_backends(chosen, clock=clock, deployments=deployments)


def _sink(metrics: Metrics, access_log: Callable[[Outcome], None], ledger: Ledger) -> Callable[[Outcome], None]:
    def sink(outcome: Outcome) -> None:
        metrics.record(outcome)
        access_log(outcome)
        # Strangers are counted and logged, but cannot push a tenant's history out of the ledger.
        if outcome.tenant:
            ledger.record(outcome)

    return sink


async def start(built: Worker, sockets: Sequence[socket.socket], ops_sockets: Sequence[socket.socket] = ()) -> None:
    """Listen, begin the lifetime tasks, become ready."""
    settings, services = built.services.settings, built.services
    built.ledger.start()
    if settings.redis_url is None and settings.first_secret is not None:
        await services.keys.create("default", name="first", secret=settings.first_secret.get_secret_value())
    built.supervisor.every(POLICY_POLL_S, lambda: _refresh_policies(services), name="policy-reload")
    built.supervisor.spawn(watch_loop_lag(services.metrics, services.clock), name="loop-lag")
    built.hints.start(built.supervisor)
    built.supervisor.every(LOOK_S, built.watch.look, name="traffic-watch")
    built.supervisor.every(1.0, lambda: _count_dropped(built), name="ledger-dropped")
    table = CLIENT if ops_sockets else (*CLIENT, *OPS)
    for served, listening in ((table, sockets), (OPS, ops_sockets)):
        if not listening:
            continue
        app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[outermost])
        app[SERVICES] = services
        register(app, served)
        runner = GatewayRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_S,
            max_field_size=settings.max_header_bytes,
            max_line_size=settings.max_header_bytes,
            auto_decompress=False,
            shutdown_timeout=settings.drain_s,
        )
        await runner.setup()
        for listener in listening:
            await web.SockSite(runner, listener).start()
        built.runners.append(runner)
    services.is_ready = True


async def drain(built: Worker) -> None:
    """Stop accepting, let answers finish within the drain time, flush the ledger, close everything."""
    built.services.is_ready = False
    await asyncio.gather(*(runner.cleanup() for runner in built.runners))
    # Calls whose client left after the last word are still counting their tokens.
    with_limit = built.services.clock.monotonic() + CLOSE_S
    while built.inflight.count and built.services.clock.monotonic() < with_limit:
        await built.services.clock.sleep(0.02)
    lost = await built.ledger.close()
    if lost:
        log.error("outcomes lost: the store was away at shutdown", outcomes=lost)
    await built.watch.look()
    await built.supervisor.close(CLOSE_S)
    await asyncio.gather(*(backend.close() for backend in built.backends.values()))
    await built.store.close()


def details(
    book: PolicyBook, deployments: LiteLLMDeployments, store: RedisStore | MemoryStore, inflight: InFlight
) -> dict[str, object]:
    """What /health/ready and /admin/status show; no secret, no address."""
    return {
        "policies": {policy.name: policy.version for policy in book.current().policies},
        "models": sorted(deployments.catalogue()),
        "cooling_down": sorted(deployments.unhealthy()),
        "store": "memory" if isinstance(store, MemoryStore) else f"redis {store.state}",
        "provider_calls": inflight.count,
        "callers": inflight.callers,
    }


def _store(
    settings: Settings, clock: SystemClock, supervisor: Supervisor, metrics: Metrics
) -> RedisStore | MemoryStore:
    if settings.redis_url is None:
        log.warning("no Redis: keys, cache and ledger live in this process and end with it")
        return MemoryStore(clock, max_bytes=settings.memory_cache_bytes)
    return RedisStore(
        settings.redis_url,
        supervisor=supervisor,
        timeout_s=settings.redis_timeout_s,
        on_transition=_tell_transition,
        on_call=lambda operation, seconds, has_failed: metrics.redis_call(operation, seconds, failed=has_failed),
    )


def _tell_transition(transition: Transition) -> None:
    tell = log.info if transition.state == "up" else log.warning
    tell(f"redis is {transition.state}", reason=transition.reason)


async def _refresh_policies(services: Services) -> None:
    found = await asyncio.to_thread(services.book.refresh)
    if isinstance(found, Reloaded):
        services.metrics.policy_loaded(found.policies.version)
        known = known_labels(found.policies, services.deployments.usable, endpoints=ENDPOINTS)
        services.metrics.update_labels(known)
        log.info("policies reloaded", version=found.policies.version)
    elif isinstance(found, Rejected) and found.is_new:
        services.metrics.policy_rejected()
        log.error("policies not reloaded: the last good ones stay", problems=[str(p) for p in found.problems])


async def _count_dropped(built: Worker) -> None:
    dropped, built.ledger.dropped = built.ledger.dropped, 0
    if dropped:
        built.services.metrics.ledger_dropped(dropped)
