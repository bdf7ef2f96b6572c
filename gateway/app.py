"""One worker: every part made once and wired (gateway/worker.py runs it). Nothing else constructs parts.

Mutable state and its owners: policies - PolicyBook; deployment health - LiteLLMDeployments; breakers, places, retry
budget and measured times - Attempts.traffic; calls in flight - InFlight; breaker hints - SharedHints; answers in
memory - ExactCache; reservations - Budgets; versions in force - Rollouts; labels and what they say - Knowledge; models'
recent times - Latencies; verified keys - Keys; outcomes waiting - Ledger; series - Metrics; tasks - Supervisor.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog
import uvloop

from gateway.archive import Archive
from gateway.aside import Asides
from gateway.backends import backends_of
from gateway.breaker_hints import SharedHints
from gateway.budgets.away import NoRedis
from gateway.budgets.books import Budgets
from gateway.budgets.desk import Desk
from gateway.cache.inflight import InFlight
from gateway.cache.lease import Leases
from gateway.cache.semantic.types import Embedder
from gateway.clock import SystemClock
from gateway.documents import Documents
from gateway.flow import Flow
from gateway.forking import TellReady
from gateway.http.routes import ENDPOINTS
from gateway.http.state import Services
from gateway.inherited import Inherited
from gateway.interactions import Interactions
from gateway.judge import Judges
from gateway.keys import Keys
from gateway.knowledge.feedback import Feedback
from gateway.knowledge.learning import Learning
from gateway.known_labels import known_labels
from gateway.lane import Transition
from gateway.ledger import Ledger
from gateway.loads import Loads
from gateway.logs import configure_logs, report_crash
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.parts import Parts
from gateway.pipelines.spec import shipped_pipelines
from gateway.retained.keeper import keeper_of
from gateway.rollout.rollouts import Rollouts
from gateway.rollout.state import RolloutState
from gateway.semantic.build import Semantic, Surroundings, make_semantic
from gateway.settings import Settings, metrics_dir
from gateway.shadow import Shadows
from gateway.spend_tasks import SpendTasks
from gateway.status import details
from gateway.stickiness import Stickiness
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.traffic_watch import TrafficWatch
from gateway.version import installed_version
from gateway.waits import waits_of
from gateway.worker import Worker, serve
from policies.book import PolicyBook
from policies.prices import Price
from router.attempts import Attempts
from router.deployments import LiteLLMDeployments
from router.facts import DoorLimits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """The parts that learn from what passes."""

    attempts: Attempts
    spend: SpendTasks
    semantic: Semantic
    learning: Learning


def run_worker(settings: Settings, inherited: Inherited, *, tell_ready: TellReady) -> int:
    """Serve on the inherited sockets until SIGTERM, SIGINT or RETIRE, then drain and return the exit code."""
    access_log = configure_logs(settings.log_level)
    built = build(settings, inherited.documents, access_log=access_log, seed=inherited.number)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(built, inherited, tell_ready=tell_ready))
    finally:
        access_log.flush()
    return 0


def build(
    settings: Settings,
    documents: Documents,
    *,
    access_log: Callable[[Outcome], None],
    seed: int,
    embedder: Embedder | None = None,
) -> Worker:
    """Make and wire every part. Reads the shipped pipelines (blocking), opens no connection."""
    clock, rng = SystemClock(), random.Random(seed)
    supervisor = Supervisor(clock=clock, on_crash=report_crash)
    book, deployments = documents.book, _deployments(settings, documents)
    metrics = _metrics(book, deployments)
    store, ledger = _stored(settings, clock, supervisor, metrics)
    backends, limits = backends_of(settings, store, clock, deployments), waits_of(settings)
    hints = SharedHints(store, clock=clock, known=[one.id for one in deployments.usable])
    attempts = Attempts(deployments=deployments, backends=backends, clock=clock, rng=rng, limits=limits, hints=hints)
    spend = _spend_tasks(settings, store, clock, book, metrics)
    around = Surroundings(settings=settings, store=store, supervisor=supervisor, clock=clock, metrics=metrics)
    semantic = make_semantic(around, catalogue=deployments.catalogue, seed=seed, embedder=embedder)
    learning = Learning.of(store, clock, space=semantic.space, versions=spend.rollouts)
    learners = (spend.rollouts.record, learning.latencies.record, learning.knowledge.record)
    sink = _sink(metrics, access_log, ledger, *learners)
    learnt = Learnt(attempts=attempts, spend=spend, semantic=semantic, learning=learning)
    parts = _parts(around, (deployments, book), learnt, archive=ledger.archive, sink=sink, seed=seed)
    services = _services(settings, parts, deployments, store, metrics, ledger)
    semantic.ask_by(services.flow.run)
    return Worker(
        services=services,
        parts=parts,
        supervisor=supervisor,
        store=store,
        ledger=ledger,
        backends=backends,
        inflight=parts.inflight,
        hints=hints,
        loads=Loads(_runner(store), attempts.traffic, deployments.usable, policies=book.current),
        semantic=semantic,
        watch=TrafficWatch(attempts.traffic, deployments.usable, metrics),
        spend=spend,
    )


def _parts(
    around: Surroundings,
    routing: tuple[LiteLLMDeployments, PolicyBook],
    learnt: Learnt,
    *,
    archive: Archive,
    sink: Callable[[Outcome], None],
    seed: int,
) -> Parts:
    settings, clock, (deployments, book) = around.settings, around.clock, routing
    spend, semantic = learnt.spend, learnt.semantic
    asides = Asides(budgets=spend.budgets, clock=clock, catalogue=deployments.catalogue, supervisor=around.supervisor)
    most, history_bytes = waits_of(settings).max_attempts, settings.max_answer_bytes
    lease_wait_s = settings.lease_wait_s if settings.redis_url else 0.0
    return Parts(
        book=book,
        deployments=deployments,
        unhealthy=deployments.unhealthy,
        price_of=_prices(deployments).get,
        attempts=learnt.attempts,
        rollouts=spend.rollouts,
        shadows=Shadows(asides, rng=random.Random(seed)),
        judges=Judges(asides, learnt.learning.knowledge, rng=random.Random(seed)),
        stickiness=Stickiness(around.store, clock),
        desk=Desk(spend.budgets, clock, catalogue=deployments.catalogue, max_attempts=most),
        exact=semantic.exact,
        inflight=InFlight(around.supervisor, history_bytes=history_bytes, heartbeat_s=settings.heartbeat_s),
        leases=Leases(around.store, clock, wait_s=lease_wait_s, is_alone=settings.is_alone),
        semantic=semantic.hook,
        refresher=semantic.refresher,
        clock=clock,
        sink=sink,
        rng=random.Random(seed),
        learning=learnt.learning,
        archive=archive,
        keeper=keeper_of(around.store, clock, most_bytes=settings.retained_bytes),
    )


def _services(
    settings: Settings,
    parts: Parts,
    deployments: LiteLLMDeployments,
    store: RedisStore | MemoryStore,
    metrics: Metrics,
    ledger: Ledger,
) -> Services:
    limits = DoorLimits(max_nesting_depth=settings.max_nesting_depth, max_messages=settings.max_messages)
    flow = Flow(parts)
    return Services(
        settings=settings,
        limits=limits,
        clock=parts.clock,
        keys=Keys(store, parts.clock),
        flow=flow,
        ledger=ledger,
        recall=parts.recall,
        interactions=Interactions(
            shipped_pipelines(),
            flow=flow,
            catalogue=deployments.catalogue,
            limits=limits,
            clock=parts.clock,
            sink=parts.sink,
            keeper=parts.keeper,
        ),
        book=parts.book,
        desk=parts.desk,
        store=store,
        deployments=deployments,
        metrics=metrics,
        sink=parts.sink,
        report_crash=report_crash,
        details=lambda: details(parts, deployments, store),
        knowledge=parts.learning.knowledge,
        tell_feedback=_tell_feedback,
    )


def _deployments(settings: Settings, documents: Documents) -> LiteLLMDeployments:
    return LiteLLMDeployments(documents.models.entries, environment=settings.environment, simulate_missing=True)


def _metrics(book: PolicyBook, deployments: LiteLLMDeployments) -> Metrics:
    known = known_labels(book.current(), deployments.usable, endpoints=ENDPOINTS)
    metrics = Metrics(version=installed_version(), known=known, multiprocess_dir=metrics_dir())
    metrics.policy_loaded(book.current().version)
    return metrics


def _stored(
    settings: Settings, clock: SystemClock, supervisor: Supervisor, metrics: Metrics
) -> tuple[RedisStore | MemoryStore, Ledger]:
    store = _store(settings, clock, supervisor, metrics)
    return store, Ledger(store, clock=clock, supervisor=supervisor, max_entries=settings.ledger_max_entries)


def _prices(deployments: LiteLLMDeployments) -> Mapping[str, Price | None]:
    return {deployment.id: deployment.price for deployment in deployments.usable}


def _spend_tasks(
    settings: Settings, store: RedisStore | MemoryStore, clock: SystemClock, book: PolicyBook, metrics: Metrics
) -> SpendTasks:
    runner = _runner(store)
    rollouts = Rollouts(
        runner, clock, groups=book.groups, on_change=partial(_tell_rollout, metrics), switch_s=settings.policy_switch_s
    )
    return SpendTasks(budgets=Budgets(runner, clock), rollouts=rollouts, book=book)


def _runner(store: RedisStore | MemoryStore) -> RedisStore | NoRedis:
    return store if isinstance(store, RedisStore) else NoRedis()


def _tell_rollout(metrics: Metrics, state: RolloutState) -> None:
    metrics.rollout(state.policy, percent=state.percent, step=state.step + 1 if state.candidate else 0)
    if state.candidate or state.status != "done":
        log.info("rollout", policy=state.policy, status=state.status, percent=state.percent, reason=state.reason)


def _sink(
    metrics: Metrics, access_log: Callable[[Outcome], None], ledger: Ledger, *learners: Callable[[Outcome], None]
) -> Callable[[Outcome], None]:
    def sink(outcome: Outcome) -> None:
        metrics.record(outcome)
        access_log(outcome)
        for learn in learners:
            learn(outcome)
        # Strangers are counted and logged, but cannot push a tenant's history out of the ledger.
        if outcome.tenant:
            ledger.record(outcome)

    return sink


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


def _tell_feedback(tenant: str, given: Feedback) -> None:
    log.info("feedback", tenant=tenant, request_id=given.request_id, score=given.quality, comment=given.comment)


def _tell_transition(transition: Transition) -> None:
    tell = log.info if transition.state == "up" else log.warning
    tell(f"redis is {transition.state}", reason=transition.reason)
