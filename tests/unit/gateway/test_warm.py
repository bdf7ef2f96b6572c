"""The warmer's process: it finds the gateway's Redis, leads, publishes what it records, and ends on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.clock import SystemClock
from gateway.ledger import STREAM, encode
from gateway.outcome import Outcome
from gateway.settings import process_environment
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.warming.leader import LEADER


def an_outcome(key: str) -> Outcome:
    return Outcome(
        request_id="r",
        origin="user",
        endpoint="chat",
        started_at=5.0,
        result="ok",
        status=200,
        tenant="acme",
        cache="miss",
        cache_key=key,
        cost_nanousd=7,
        total_s=0.5,
    )


RENDER = """
import sys
from pathlib import Path
from gateway.metrics import KnownLabels, Metrics

metrics = Metrics(version="1", known=KnownLabels(), multiprocess_dir=Path(sys.argv[1]))
text = ""
while "foreword_warmer_events_total 3.0" not in text:
    text = metrics.render()[0].decode()
print(text)
"""

# What `python -m gateway` does; then says how many objects its collections have passed over.
WARM = """
import gc, sys
from gateway.__main__ import main

code = main()
print(gc.get_freeze_count())
sys.exit(code)
"""


async def fill(url: str) -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    store = RedisStore(url, supervisor=supervisor, timeout_s=5.0)
    await store.append(STREAM, [encode(an_outcome(key)) for key in ("k1", "k2", "k1")], max_entries=100)
    await store.close()
    await supervisor.close(1.0)


async def is_led(url: str) -> bool:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    store = RedisStore(url, supervisor=supervisor, timeout_s=5.0)
    found = await store.get(LEADER)
    await store.close()
    await supervisor.close(1.0)
    return found is not None


def test_the_process_finds_the_gateways_redis_publishes_what_it_records_and_ends_on_sigterm() -> None:
    with tempfile.TemporaryDirectory(prefix="fw-") as folder:
        server = EmbeddedRedis.start(Path(folder))
        asyncio.run(fill(server.url))
        metrics = Path(folder) / "metrics"
        metrics.mkdir()
        environment = {"PATH": process_environment()["PATH"], "FOREWORD_DATA_DIR": folder}
        command = [sys.executable, "-c", WARM, "warm"]
        process = subprocess.Popen(command, env=environment, cwd=Path.cwd(), stdout=subprocess.PIPE)
        try:
            rendered = subprocess.run(
                [sys.executable, "-c", RENDER, str(metrics)],
                env={**environment, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
                cwd=Path.cwd(),
            )
            families = {family.name: family for family in text_string_to_metric_families(rendered.stdout)}
            assert families["foreword_warmer_window_events"].samples[0].value == 3
            assert families["foreword_warmer_leader"].samples[0].value == 1
        finally:
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=60)
            assert not asyncio.run(is_led(server.url))
            server.stop()
        assert process.returncode == 0
        assert int(told.split()[-1]) > 100_000, "a full collection would look at all that was imported"
