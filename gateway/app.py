"""One worker: every part made once and wired (gateway/worker.py runs it). Nothing else constructs parts.

Mutable state and its owners: policies - PolicyBook; deployment health - LiteLLMDeployments; breakers, places, retry
budget and measured times - Attempts.traffic; calls in flight - InFlight; breaker hints - SharedHints; answers in
memory - ExactCache; reservations - Budgets; versions in force - Rollouts; verified keys - Keys; outcomes waiting -
Ledger; series - Metrics; tasks - Supervisor.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from functools import partial

import structlog
import uvloop

from gateway.breaker_hints import SharedHints
from gateway.budgets.away import NoRedis
from gateway.budgets.books import Budgets
from gateway.budgets.desk import Desk
from gateway.cache.exact import ExactCache
from gateway.cache.inflight import InFlight
from gateway.cache.lease import Leases
from gateway.clock import SystemClock
from gateway.flow import Flow
from gateway.http.routes import ENDPOINTS
from gateway.http.state import Services
from gateway.interactions import Interactions
from gateway.keys import Keys
from gateway.known_labels import known_labels
from gateway.lane import Transition
from gateway.ledger import Ledger
from gateway.logs import configure_logs, report_crash
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.parts import Parts
from gateway.pipelines.spec import shipped_pipelines
from gateway.rollout.rollouts import Rollouts
from gateway.rollout.state import RolloutState
from gateway.settings import Settings, metrics_dir
from gateway.shadow import Shadows
from gateway.spend_tasks import SpendTasks
from gateway.stickiness import Stickiness
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.traffic_watch import TrafficWatch
from gateway.version import installed_version
from gateway.waits import waits_of
from gateway.worker import Worker, serve
from policies.book import PolicyBook
from policies.load import load_models
from router.attempts import Attempts
from router.backends import BackendSettings, make_backends
from router.deployments import LiteLLMDeployments
from router.facts import DoorLimits
from router.ports import Backend

log = structlog.get_logger()


def run_worker(
    settings: Settings, sockets: Sequence[socket.socket], *, worker: int, ops_sockets: Sequence[socket.socket] = ()
) -> int:
    """Serve on `sockets` until SIGTERM or SIGINT, then drain and return the exit code."""
    access_log = configure_logs(settings.log_level)
    built = build(settings, access_log=access_log, seed=worker)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(built, sockets, ops_sockets))
    finally:
        access_log.flush()
    return 0


def build(settings: Settings, *, access_log: Callable[[Outcome], None], seed: int) -> Worker:
    """Make and wire every part. Reads files (blocking), opens no connection. Raises DocumentError for bad files."""
    clock = SystemClock()
    supervisor = Supervisor(clock=clock, on_crash=report_crash)
    deployments, book = _routing(settings)
    metrics = _metrics(book, deployments)
    store = _store(settings, clock, supervisor, metrics)
    ledger = Ledger(store, clock=clock, supervisor=supervisor, max_entries=settings.ledger_max_entries)
    backends, prices = _backends(settings, clock, deployments), {one.id: one.price for one in deployments.usable}
    limits, rng = waits_of(settings), random.Random(seed)
    hints = SharedHints(store, clock=clock, known=prices)
    attempts = Attempts(deployments=deployments, backends=backends, clock=clock, rng=rng, limits=limits, hints=hints)
    spend = _spend_tasks(settings, store, clock, book, metrics)
    parts = Parts(
        book=book,
        deployments=deployments,
        unhealthy=deployments.unhealthy,
        price_of=prices.get,
        attempts=attempts,
        rollouts=spend.rollouts,
        shadows=Shadows(spend.budgets, clock, catalogue=deployments.catalogue, supervisor=supervisor, rng=rng),
        stickiness=Stickiness(store, clock),
        desk=Desk(spend.budgets, clock, catalogue=deployments.catalogue, max_attempts=limits.max_attempts),
        exact=ExactCache(store, clock, max_bytes=settings.memory_cache_bytes),
        inflight=InFlight(supervisor, history_bytes=settings.max_answer_bytes, heartbeat_s=settings.heartbeat_s),
        leases=Leases(store, clock, wait_s=settings.lease_wait_s if settings.redis_url else 0.0),
        clock=clock,
        sink=_sink(metrics, access_log, ledger, spend.rollouts),
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
        spend=spend,
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
        recall=parts.recall,
        interactions=Interactions(
            shipped_pipelines(),
            flow=flow,
            catalogue=deployments.catalogue,
            limits=limits,
            clock=parts.clock,
            sink=parts.sink,
        ),
        book=parts.book,
        desk=parts.desk,
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


def _metrics(book: PolicyBook, deployments: LiteLLMDeployments) -> Metrics:
    known = known_labels(book.current(), deployments.usable, endpoints=ENDPOINTS)
    metrics = Metrics(version=installed_version(), known=known, multiprocess_dir=metrics_dir())
    metrics.policy_loaded(book.current().version)
    return metrics


def _backends(settings: Settings, clock: SystemClock, deployments: LiteLLMDeployments) -> dict[str, Backend]:
    chosen = BackendSettings(
        max_answer_bytes=settings.max_answer_bytes,
        simulated_seed=settings.simulated_seed,
        simulated_latency_scale=settings.simulated_latency_scale,
    )
    return make_backends(chosen, clock=clock, deployments=deployments)


def _spend_tasks(
    settings: Settings, store: RedisStore | MemoryStore, clock: SystemClock, book: PolicyBook, metrics: Metrics
) -> SpendTasks:
    runner = store if isinstance(store, RedisStore) else NoRedis()
    rollouts = Rollouts(
        runner, clock, groups=book.groups, on_change=partial(_tell_rollout, metrics), switch_s=settings.policy_switch_s
    )
    return SpendTasks(budgets=Budgets(runner, clock), rollouts=rollouts, book=book)


def _tell_rollout(metrics: Metrics, state: RolloutState) -> None:
    metrics.rollout(state.policy, percent=state.percent, step=state.step + 1 if state.candidate else 0)
    if state.candidate or state.status != "done":
        log.info("rollout", policy=state.policy, status=state.status, percent=state.percent, reason=state.reason)


def _sink(
    metrics: Metrics, access_log: Callable[[Outcome], None], ledger: Ledger, rollouts: Rollouts
) -> Callable[[Outcome], None]:
    def sink(outcome: Outcome) -> None:
        metrics.record(outcome)
        rollouts.record(outcome)
        access_log(outcome)
        # Strangers are counted and logged, but cannot push a tenant's history out of the ledger.
        if outcome.tenant:
            ledger.record(outcome)

    return sink


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
