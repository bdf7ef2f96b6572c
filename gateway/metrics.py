"""Every metric of the gateway: the one owner of the registry and the only importer of prometheus_client.

Must not hold a label that a client can choose: unknown models, routes, providers and codes are counted as "other".
PROMETHEUS_MULTIPROC_DIR, if used, is set before this module is imported (settings.export_metrics_dir).
"""

from __future__ import annotations

import fcntl
import platform
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.announced.records import Posting
from gateway.knowledge.labels import Learnt
from gateway.outcome import Outcome
from gateway.recording import Observe, OutcomeRecorder
from gateway.series import (
    COUNTERS,
    DISTRIBUTIONS,
    LEVELS,
    OTHER,
    REDIS_OPERATIONS,
    SEMANTIC_REFUSALS,
    KnownLabels,
    closed,
    level_zeros,
    zeros,
)
from gateway.tally import Count, Spread, adding_to
from gateway.warming_series import Told

__all__ = ["KnownLabels", "Metrics", "forget_process"]

MAX_ENDED = 64
"""So many ended requests wait to be counted at most; that takes a few tenths of a millisecond."""

_Key = tuple[str, ...]


class Metrics:
    """The registry of one process. One thread records; `flush` and `render` may run in others.

    Other processes see what was recorded here after the next `flush` (see loop_lag.py); `render` flushes first.
    `multiprocess_dir` is the directory that all processes of this gateway share, None for a process that counts alone.
    """

    def __init__(self, *, version: str, known: KnownLabels, multiprocess_dir: Path | None = None) -> None:
        self._registry = CollectorRegistry()
        self._multiprocess_dir = multiprocess_dir
        self._known = known
        self._recorder = OutcomeRecorder(self._child, known)
        self._tallies: dict[tuple[str, _Key], Count | Spread] = {}
        self._lock = threading.Lock()
        self._ended: deque[Outcome] = deque()
        self._policy: str | None = None
        self._in_flight = 0
        registry = self._registry
        self._counters = {row.name: Counter(row.name, row.text, row.labels, registry=registry) for row in COUNTERS}
        self._histograms = {
            row.name: Histogram(row.name, row.text, row.labels, buckets=row.buckets, registry=registry)
            for row in DISTRIBUTIONS
        }
        self._gauges = {
            row.name: Gauge(row.name, row.text, row.labels, registry=registry, multiprocess_mode=row.mode)
            for row in LEVELS
        }
        self._gauges["foreword_build_info"].labels(version, platform.python_version()).set(1)
        self._create_zeros()

    def update_labels(self, known: KnownLabels) -> None:
        """Replace the known label values after a reload; series that exist stay."""
        with self._lock:
            self._record_ended()
            self._known = known
            self._recorder = OutcomeRecorder(self._child, known)
            self._create_zeros()

    def record(self, outcome: Outcome) -> None:
        """Count one ended request: a function of the outcome alone, at the next flush or a few requests later."""
        self._ended.append(outcome)
        if len(self._ended) >= MAX_ENDED:
            with self._lock:
                self._record_ended()

    def flush(self) -> None:
        """Publish to the shared files what was recorded since the last flush."""
        with self._lock:
            self._record_ended()
            self._gauges["foreword_in_flight_requests"].set(self._in_flight)
            for tally in self._tallies.values():
                tally.drain()

    def _record_ended(self) -> None:
        """Count what has ended, together: each takes half the time it takes between other work."""
        while self._ended:
            self._recorder.record(self._ended.popleft())

    def render(self) -> tuple[bytes, str]:
        """Return the text exposition and its content type. Reads files in multiprocess mode: call it in a thread."""
        self.flush()
        registry = self._registry
        if self._multiprocess_dir is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._multiprocess_dir))  # type: ignore[no-untyped-call]
            with _locked(self._multiprocess_dir, fcntl.LOCK_SH):
                return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def http_request(self, endpoint: str, status: int) -> None:
        """Count one HTTP exchange, whatever it was."""
        name = endpoint if endpoint in self._known.endpoints else OTHER
        self._child("foreword_http_requests", name, f"{status // 100}xx")(1)

    def in_flight_changed(self, by: Literal[1, -1]) -> None:
        """Move the number of requests being worked on."""
        self._in_flight += by

    def redis_call(self, operation: str, seconds: float, *, failed: bool) -> None:
        """Count one Redis round trip; `operation` outside REDIS_OPERATIONS is "other"."""
        name = operation if operation in REDIS_OPERATIONS else OTHER
        self._child("foreword_redis_duration_seconds", name)(seconds)
        if failed:
            self._child("foreword_redis_failures", name)(1)

    def breaker_changed(self, model: str, provider: str, to: str) -> None:
        """Count a transition of a breaker to the state `to`."""
        self._child("foreword_breaker_transitions", *self._deployment(model, provider), to)(1)

    def deployment_levels(self, model: str, provider: str, *, breaker: int, in_flight: int, waiting: int) -> None:
        """Say how a model's deployments at a provider are: breaker 0 closed, 1 half open, 2 open; calls."""
        labels = self._deployment(model, provider)
        self._gauges["foreword_breaker_state"].labels(*labels).set(breaker)
        self._gauges["foreword_in_flight_provider_calls"].labels(*labels).set(in_flight)
        self._gauges["foreword_queued_provider_calls"].labels(*labels).set(waiting)

    def queue_moved(self, model: str, provider: str, *, queued: int, dropped: int) -> None:
        """Count calls that began to wait for a place, and calls that were sent away."""
        labels = self._deployment(model, provider)
        self._child("foreword_queue_entries", *labels)(queued)
        self._child("foreword_queue_drops", *labels)(dropped)

    def repetitions_refused(self, count: int) -> None:
        """Count repetitions that the shared retry budget refused."""
        self._child("foreword_retry_budget_refusals")(count)

    def semantic_lookup(self, refused: str) -> None:
        """Count a look for another wording: a hit where nothing refused it. `refused` is tier.Looked's."""
        self._child("foreword_cache_lookups", "semantic", "miss" if refused else "hit")(1)
        if refused:
            self._child("foreword_semantic_refusals", closed(refused.partition(":")[0], SEMANTIC_REFUSALS))(1)

    def semantic_similarity(self, similarity: float) -> None:
        """Observe the cosine of a hit."""
        self._child("foreword_semantic_similarity")(similarity)

    def embedded(self, seconds: float, has_failed: bool) -> None:
        """Observe one question's way to its vector."""
        self._child("foreword_embedder_duration_seconds")(seconds)
        if has_failed:
            self._child("foreword_embedder_failures")(1)

    def semantic_moved(self, route: str, *, labels: int, label_cost_nanousd: int) -> None:
        """Count what a route's classes have learned since the last time, and what that cost."""
        name = closed(route, self._known.routes)
        self._child("foreword_semantic_labels", name)(labels)
        self._child("foreword_semantic_label_cost_usd", name)(label_cost_nanousd * 1e-9)

    def semantic_verified(self, route: str, verdict: str, *, cost_nanousd: int) -> None:
        """Count what a verifier said of two questions, and what asking it cost."""
        self._child("foreword_semantic_verdicts", verdict)(1)
        self._child("foreword_semantic_verify_cost_usd", closed(route, self._known.routes))(cost_nanousd * 1e-9)

    def semantic_waited(self, seconds: float, *, is_late: bool) -> None:
        """Observe how long a request waited for a verifier, and whether that was in vain."""
        self._child("foreword_semantic_verify_wait_seconds")(seconds)
        if is_late:
            self._child("foreword_semantic_verdicts", "late")(1)

    def semantic_levels(self, route: str, *, is_serving: bool, wrong: float, wrong_upper: float) -> None:
        """Say how a route's worst class stands."""
        name = closed(route, self._known.routes)
        self._gauges["foreword_semantic_mode"].labels(name).set(int(is_serving))
        self._gauges["foreword_semantic_wrong_hits"].labels(name).set(wrong)
        self._gauges["foreword_semantic_wrong_hits_upper"].labels(name).set(wrong_upper)

    def semantic_held(self, *, entries: int, size_bytes: int, dropped: int) -> None:
        """Say what the index holds here, and how much work was not begun since the last time."""
        self._gauges["foreword_semantic_entries"].set(entries)
        self._gauges["foreword_semantic_bytes"].set(size_bytes)
        self._child("foreword_semantic_dropped_work")(dropped)

    def policy_loaded(self, version: str) -> None:
        """Say that `version` is in force from now on."""
        if self._policy is not None:
            self._gauges["foreword_policy_info"].labels(self._policy).set(0)
        self._gauges["foreword_policy_info"].labels(version).set(1)
        self._policy = version
        self._child("foreword_policy_reloads", "loaded")(1)

    def rollout(self, policy: str, *, percent: float, step: int) -> None:
        """Say how far a policy's new version has got: per cent of sessions, and the step from 1."""
        if policy in self._known.policies:
            self._gauges["foreword_rollout_percent"].labels(policy).set(percent)
            self._gauges["foreword_rollout_step"].labels(policy).set(step)

    def policy_rejected(self) -> None:
        """Count a reload that kept the last good version."""
        self._child("foreword_policy_reloads", "rejected")(1)

    def learnt(self, found: Learnt) -> None:
        """Count the judged answers that this process shared, and say how many there are in all."""
        for source, count in found.by_source.items():
            self._child("foreword_quality_labels", source)(count)
        self._gauges["foreword_knowledge_labels"].set(found.labels)

    def ledger_dropped(self, entries: int) -> None:
        """Count ledger entries that were lost."""
        self._child("foreword_ledger_dropped_entries")(entries)

    def loop_lag(self, seconds: float) -> None:
        """Observe by how much a timer of the event loop was late."""
        self._child("foreword_event_loop_lag_seconds")(seconds)

    def warmer_told(self, told: Told) -> None:
        """Add and set what the warmer says of itself."""
        for name, labels, by in told.counts:
            self._child(name, *labels)(by)
        for name, labels, figure in told.levels:
            gauge = self._gauges[name]
            (gauge.labels(*labels) if labels else gauge).set(figure)

    def announced(self, posting: Posting) -> None:
        """Count one announcement that a client has posted."""
        self._child("foreword_announcements", posting)(1)

    def _deployment(self, model: str, provider: str) -> tuple[str, str]:
        return closed(provider, self._known.providers), closed(model, self._known.models)

    def _child(self, name: str, *labels: str) -> Observe:
        """Return what adds to a counter or observes in a histogram, creating the series at zero."""
        tally = self._tallies.get((name, labels))
        if tally is None:
            tally = self._tallies[name, labels] = self._make_tally(name, labels)
        return tally.add

    def _make_tally(self, name: str, labels: _Key) -> Count | Spread:
        counter = self._counters.get(name)
        if counter is not None:
            return Count((counter.labels(*labels) if labels else counter).inc)
        parent = self._histograms[name]
        histogram = parent.labels(*labels) if labels else parent
        # prometheus_client takes histogram values one by one only; adding to its buckets takes them by the batch.
        return Spread(parent._upper_bounds[:-1], adding_to(histogram._buckets, histogram._sum))

    def _create_zeros(self) -> None:
        for name, labels in zeros(self._known):
            self._child(name, *labels)
        for name, labels in level_zeros(self._known):
            self._gauges[name].labels(*labels)


def forget_process(pid: int, directory: Path) -> None:
    """Drop the live gauges of a process that has ended, and fold its counts into those of all that ended before it.

    Totals never fall, and workers that come and go leave no more than two files behind.
    """
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
    with _locked(directory, fcntl.LOCK_EX):
        for kind in ("counter", "histogram"):
            ended = directory / f"{kind}_{pid}.db"
            # What a killed process left half-written stays as it is: the parent must outlive it.
            with suppress(FileNotFoundError, RuntimeError, ValueError):
                _fold(ended, directory / f"{kind}_ended.db")
                ended.unlink()


def _fold(ended: Path, into: Path) -> None:
    values = [(key, value) for key, value, *_ in MmapedDict.read_all_values_from_file(str(ended))]  # type: ignore[no-untyped-call]
    totals = MmapedDict(str(into))  # type: ignore[no-untyped-call]
    for key, value in values:
        totals.write_value(key, totals.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    totals.close()  # type: ignore[no-untyped-call]


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Hold the files still: a scrape between fold and unlink would count the ended process twice."""
    with (directory / "lock").open("wb") as lock:
        fcntl.flock(lock, how)
        yield
