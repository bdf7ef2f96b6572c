"""The warmer's own process: a gateway that does not listen, warming while it leads, and keeping the ledger in files.

Must not serve requests, and waits while Redis is away.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal

import uvloop

from gateway.app import build
from gateway.cache.withdraw import LISTEN_S
from gateway.documents import Documents
from gateway.history.roller import roll
from gateway.history.segments import DAY_S
from gateway.logs import configure_logs
from gateway.settings import Settings
from gateway.stores.redis import RedisStore
from gateway.takeup.build import build_takeup
from gateway.takeup.serving import IDLE_S
from gateway.warming.build import build_warming
from gateway.warming.leader import RENEW_S
from gateway.worker import Worker, begin, drain, tune_collector

REDIS_TIMEOUT_S = 1.0
"""Nobody waits for the warmer, so it may wait for Redis longer than a request does."""
CLOSE_S = 3.0
NICENESS = 10
"""Workers come first, and the embedder too: what is warmed a little later loses nothing."""


def run_warmer(settings: Settings, documents: Documents) -> int:
    """Run the warmer until SIGTERM or SIGINT and return the exit code; `settings.redis_url` must be set."""
    os.nice(NICENESS)
    access_log = configure_logs(settings.log_level)
    fitted = settings.model_copy(
        update={
            "redis_timeout_s": max(REDIS_TIMEOUT_S, settings.redis_timeout_s),
            # It looks for no other wordings, and tells no answer twice.
            "embedder": "off",
            "memory_cache_bytes": 0,
        }
    )
    built = build(fitted, documents, access_log=access_log, seed=os.getpid())
    if not isinstance(built.store, RedisStore):
        raise ValueError("redis_url: None: must be the URL of the Redis that holds the ledger")
    leave_alone_what_stays()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(built, built.store))
    finally:
        access_log.flush()


def leave_alone_what_stays() -> None:
    """Let collections look at nothing that exists by now, as the parent of `serve` does before it forks.

    A full one goes through more than a million objects, LiteLLM's mostly: 260 ms of a core that a request may want.
    """
    tune_collector()
    gc.collect()
    gc.freeze()


async def _run(built: Worker, store: RedisStore) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings, supervisor, clock = built.services.settings, built.supervisor, built.services.clock
    await begin(built)
    keep_s = settings.ledger_keep_days * DAY_S
    rolling = roll(store, settings.data_dir, clock=clock, keep_s=keep_s, max_bytes=settings.ledger_max_bytes)
    supervisor.spawn(rolling, name="ledger-files")
    warming = build_warming(built, store)
    await warming.hear()
    supervisor.every(RENEW_S, warming.driver.renew, name="warmer-lead")
    supervisor.every(LISTEN_S, warming.hear, name="warmer-erasures")
    takeup, lead = build_takeup(built, warming), warming.leadership
    supervisor.every(IDLE_S, lambda: takeup.tend(leads=lead.is_held), name="announced")
    driving = supervisor.spawn(warming.driver.run(), name="warmer")
    stopping = supervisor.spawn(_wait(stop), name="signals")
    await asyncio.wait({driving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    driving.cancel()
    await asyncio.wait({driving}, timeout=CLOSE_S)
    await warming.driver.close()
    await drain(built)
    return 0 if stop.is_set() else 1


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
