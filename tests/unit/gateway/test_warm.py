"""The warmer's process: demand read from the real ledger, through a Redis that comes and goes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.clock import SystemClock
from gateway.ledger import STREAM, encode
from gateway.outcome import Outcome
from gateway.ports import StoreUnavailable
from gateway.settings import process_environment
from gateway.stores.embedded import EmbeddedRedis
from gateway.stores.redis import RedisStore
from gateway.supervisor import Supervisor
from gateway.warm import LedgerHistory, RedisBookmark, event_of, follow
from warmer.ports import HistoryUnavailable
from warmer.recorder import Recorded, Recorder
from warmer.types import START, Mark, Position


def an_outcome(**changes: object) -> Outcome:
    fields: dict[str, object] = {
        "request_id": "r",
        "origin": "user",
        "endpoint": "/v1/chat/completions",
        "started_at": 5.0,
        "result": "ok",
        "status": 200,
        "tenant": "acme",
        "cache": "miss",
        "cache_key": "k1",
        "cost_nanousd": 7,
        "total_s": 0.5,
        **changes,
    }
    return Outcome(**fields)  # type: ignore[arg-type]


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    made = RedisStore(redis_url, supervisor=supervisor, timeout_s=5.0)
    yield made
    await made.close()
    await supervisor.close(1.0)


@pytest.fixture
def stream() -> str:
    return f"test-warm-{uuid4().hex}"


def test_an_event_says_what_was_wanted_and_what_a_hit_would_save() -> None:
    missed, hit = event_of(an_outcome()), event_of(an_outcome(cache="hit", cost_nanousd=0, saved_nanousd=9))
    assert missed is not None
    assert hit is not None
    assert (missed.at_s, missed.tenant, missed.key, missed.was_hit, missed.cost_nanousd) == (
        5.0,
        "acme",
        "k1",
        False,
        7,
    )
    assert (hit.was_hit, hit.cost_nanousd) == (True, 9)


@pytest.mark.parametrize("changes", [{"origin": "warmer"}, {"result": "error"}, {"cache_key": ""}])
def test_what_is_no_demand_is_no_event(changes: dict[str, object]) -> None:
    assert event_of(an_outcome(**changes)) is None


async def test_the_ledger_is_followed_and_a_damaged_entry_is_passed_over(store: RedisStore, stream: str) -> None:
    entries = [encode(an_outcome(cache_key="k1")), b'{"v":999,', b"no json", encode(an_outcome(cache_key="k2"))]
    await store.append(stream, entries, max_entries=100)
    recorder = Recorder(LedgerHistory(store, stream=stream), RedisBookmark(store, key=f"{stream}:mark"), page=2)
    counted = 0
    while not (step := await recorder.step()).is_at_end:
        counted += step.events
    assert counted + step.events == 2
    assert [event.key for event in recorder.events()] == ["k1", "k2"]
    await store.append(stream, [encode(an_outcome(cache_key="k1"))], max_entries=100)
    again = Recorder(LedgerHistory(store, stream=stream), RedisBookmark(store, key=f"{stream}:mark"))
    assert (await again.step()).events == 1
    assert again.count("acme", "k1") == 2


async def test_a_bookmark_survives_and_a_damaged_one_counts_as_none(store: RedisStore, stream: str) -> None:
    bookmark = RedisBookmark(store, key=stream)
    assert await bookmark.load() is None
    mark = Mark(window_after=START, counted=Position(ms=12, sequence=3))
    await bookmark.save(mark)
    assert await bookmark.load() == mark
    await store.hash_set(stream, "mark", b"{")
    assert await bookmark.load() is None


async def test_a_redis_that_is_away_is_the_history_being_unavailable() -> None:
    class Away:
        async def read(self, _stream: str, *, after: str, limit: int) -> list[tuple[str, bytes]]:
            raise StoreUnavailable(f"{after} {limit}")

        async def hash_get(self, _key: str, _field: str) -> bytes | None:
            raise StoreUnavailable

        async def hash_set(self, _key: str, _field: str, _value: bytes, *, only_new: bool = False) -> bool:
            raise StoreUnavailable(str(only_new))

    with pytest.raises(HistoryUnavailable):
        await LedgerHistory(Away()).read(after=START, limit=1)
    with pytest.raises(HistoryUnavailable):
        await RedisBookmark(Away()).load()
    with pytest.raises(HistoryUnavailable):
        await RedisBookmark(Away()).save(Mark(window_after=START, counted=START))


async def test_following_waits_while_redis_is_away_and_goes_on_after(store: RedisStore, stream: str) -> None:
    await store.append(stream, [encode(an_outcome())], max_entries=100)

    class Flaky(LedgerHistory):
        failures = 2

        async def read(self, *, after: Position, limit: int):  # type: ignore[no-untyped-def]
            if self.failures:
                self.failures -= 1
                raise HistoryUnavailable("away")
            return await super().read(after=after, limit=limit)

    recorder = Recorder(Flaky(store, stream=stream), RedisBookmark(store, key=f"{stream}:mark"))
    published: asyncio.Queue[Recorded] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(follow(recorder, clock=SystemClock(), publish=published.put_nowait, idle_s=0.01))
        assert (await published.get()).events == 1
        task.cancel()


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


async def fill(url: str) -> None:
    supervisor = Supervisor(clock=SystemClock(), on_crash=lambda _name, _error: None)
    store = RedisStore(url, supervisor=supervisor, timeout_s=5.0)
    await store.append(STREAM, [encode(an_outcome(cache_key=key)) for key in ("k1", "k2", "k1")], max_entries=100)
    await store.close()
    await supervisor.close(1.0)


def test_the_process_finds_the_gateways_redis_publishes_what_it_records_and_ends_on_sigterm() -> None:
    with tempfile.TemporaryDirectory(prefix="fw-") as folder:
        server = EmbeddedRedis.start(Path(folder))
        asyncio.run(fill(server.url))
        metrics = Path(folder) / "metrics"
        metrics.mkdir()
        environment = {"PATH": process_environment()["PATH"], "FOREWORD_DATA_DIR": folder}
        process = subprocess.Popen([sys.executable, "-m", "gateway", "warm"], env=environment, cwd=Path.cwd())
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
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
            server.stop()
        assert code == 0
