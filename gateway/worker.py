"""One worker's life: listen, become ready, run the lifetime tasks, and on a signal drain and close in order.

Makes no part: `app.build` did.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiohttp import web

from gateway.breaker_hints import SharedHints
from gateway.cache.inflight import InFlight
from gateway.forking import TellReady
from gateway.http.middlewares import outermost
from gateway.http.routes import CLIENT, ENDPOINTS, OPS, Table, register
from gateway.http.server import GatewayRunner
from gateway.http.site import Crowd, SharedSite
from gateway.http.state import SERVICES, Services
from gateway.inherited import Inherited, Places
from gateway.job import RETIRE
from gateway.knowledge.knowledge import POLL_S as LEARN_S
from gateway.known_labels import known_labels
from gateway.ledger import Ledger
from gateway.loads import Loads
from gateway.loop_lag import watch_loop_lag
from gateway.parts import Parts
from gateway.semantic.build import Semantic
from gateway.spend_tasks import SpendTasks
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.traffic_watch import LOOK_S, TrafficWatch
from policies.book import Rejected, Reloaded
from router.ports import Backend

POLICY_POLL_S: Final = 1.0
KEEPALIVE_S: Final = 75.0
CLOSE_S: Final = 5.0
LOOK_ROUND_S: Final = 0.05
YOUNG_OBJECTS: Final = 4_000
"""A collection looks at so many at most, mostly: half a millisecond."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Worker:
    """Everything of one worker that must be started and closed."""

    services: Services
    parts: Parts
    supervisor: Supervisor
    store: RedisStore | MemoryStore
    ledger: Ledger
    backends: dict[str, Backend]
    inflight: InFlight
    hints: SharedHints
    loads: Loads
    semantic: Semantic
    watch: TrafficWatch
    spend: SpendTasks
    runners: list[GatewayRunner] = field(default_factory=list)
    following: asyncio.Task[None] | None = None


async def serve(built: Worker, inherited: Inherited, *, tell_ready: TellReady) -> None:
    """Serve until SIGTERM or SIGINT, then drain; at RETIRE leave the connections first."""
    tune_collector()
    told, stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        stop.set()
        told.set()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, end)
    loop.add_signal_handler(RETIRE, told.set)
    await start(built, inherited.sockets, inherited.ops_sockets, crowd=Crowd(inherited.places, inherited.number))
    tell_ready()
    await told.wait()
    if not stop.is_set():
        await leave(built, stop)
    await drain(built)


def tune_collector() -> None:
    """Look for cycles every ten requests or so instead of every one: there are next to none to find."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


async def start(
    built: Worker,
    sockets: Sequence[socket.socket],
    ops_sockets: Sequence[socket.socket] = (),
    *,
    crowd: Crowd | None = None,
) -> None:
    """Listen, begin the lifetime tasks, become ready. `crowd` is this worker among others, None for one alone."""
    await begin(built)
    table = CLIENT if ops_sockets else (*CLIENT, *OPS)
    await _listen(built, table, sockets, crowd or Crowd(Places(1), 0))
    if ops_sockets:
        await _listen(built, OPS, ops_sockets, Crowd(Places(1), 0))
    built.services.is_ready = True


async def begin(built: Worker) -> None:
    """Begin the lifetime tasks, with everything that answers need, and listen nowhere: so does the warmer."""
    settings, services = built.services.settings, built.services
    built.ledger.start()
    await built.spend.start(built.supervisor)
    if settings.redis_url is None and settings.first_secret is not None:
        await services.keys.create("default", name="first", secret=settings.first_secret.get_secret_value())
    await refresh_policies(services, built.spend)  # the parent's copy may be a moment old
    built.following = built.supervisor.every(
        POLICY_POLL_S, lambda: refresh_policies(services, built.spend), name="policy-reload"
    )
    built.supervisor.spawn(watch_loop_lag(services.metrics, services.clock), name="loop-lag")
    built.hints.start(built.supervisor)
    built.loads.start(built.supervisor)
    await built.semantic.start(built.supervisor)
    built.supervisor.every(LOOK_S, built.watch.look, name="traffic-watch")
    built.supervisor.every(1.0, lambda: _count_dropped(built), name="ledger-dropped")
    built.supervisor.every(LEARN_S, lambda: _learn(services), name="knowledge")


async def _listen(built: Worker, table: Table, sockets: Sequence[socket.socket], crowd: Crowd) -> None:
    settings = built.services.settings
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[outermost])
    app[SERVICES] = built.services
    register(app, table)
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
    runner.crowd = crowd
    await runner.setup()
    for listener in sockets:
        await SharedSite(runner, listener, crowd=crowd, spawn=lambda opening: _spawn(built, opening)).start()
    built.runners.append(runner)


def _spawn(built: Worker, opening: Coroutine[object, object, None]) -> asyncio.Task[None]:
    return built.supervisor.spawn(opening, name="connection")


async def leave(built: Worker, stop: asyncio.Event) -> None:
    """Let every connection end by its client's own doing, for as long as a drain lasts or until `stop`.

    Stays ready: whoever asks on an old connection asks about the gateway, and that has new workers. Policies stay as
    they are: they may by now name models that only the new workers know.
    """
    if built.following is not None:
        built.following.cancel()
    for runner in built.runners:
        await runner.leave()
    clock = built.services.clock
    until_s = clock.monotonic() + built.services.settings.drain_s
    while any(runner.connections for runner in built.runners) and not stop.is_set() and clock.monotonic() < until_s:
        await clock.sleep(LOOK_ROUND_S)


async def drain(built: Worker) -> None:
    """Stop accepting, let answers finish within the drain time, flush the ledger, close everything."""
    built.services.is_ready = False
    await asyncio.gather(*(runner.cleanup() for runner in built.runners))
    # Calls whose client left after the last word are still counting their tokens.
    with_limit = built.services.clock.monotonic() + CLOSE_S
    while built.inflight.count and built.services.clock.monotonic() < with_limit:
        await built.services.clock.sleep(0.02)
    await built.spend.close()
    lost = await built.ledger.close()
    if lost:
        log.error("outcomes lost: the store was away at shutdown", outcomes=lost)
    await built.watch.look()
    await built.semantic.close()
    await built.supervisor.close(CLOSE_S)
    await asyncio.gather(*(backend.close() for backend in built.backends.values()))
    await built.store.close()


async def refresh_policies(services: Services, spend: SpendTasks) -> None:
    """Read the policy files again, and put them in force where they changed and are good."""
    found = await asyncio.to_thread(services.book.refresh)
    if isinstance(found, Reloaded):
        services.metrics.policy_loaded(found.policies.version)
        known = known_labels(found.policies, services.deployments.usable, endpoints=ENDPOINTS)
        services.metrics.update_labels(known)
        await spend.loaded(found.policies, is_change=True)
        log.info("policies reloaded", version=found.policies.version)
    elif isinstance(found, Rejected) and found.is_new:
        services.metrics.policy_rejected()
        log.error("policies not reloaded: the last good ones stay", problems=[str(p) for p in found.problems])


async def _learn(services: Services) -> None:
    services.metrics.learnt(await services.knowledge.poll())


async def _count_dropped(built: Worker) -> None:
    dropped, built.ledger.dropped = built.ledger.dropped, 0
    if dropped:
        built.services.metrics.ledger_dropped(dropped)
