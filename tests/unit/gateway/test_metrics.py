"""Metrics: that labels stay closed, and that two processes add up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.loop_lag import watch_loop_lag
from gateway.metrics import KnownLabels
from gateway.series import COUNTERS, DISTRIBUTIONS, LEVELS
from gateway.settings import process_environment
from gateway.warming_series import Told
from tests.unit.gateway.metric_samples import CHAT, KNOWN, answered, attempt, make, parsed, samples, value


@settings(max_examples=10)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))))
def test_clients_and_providers_cannot_add_a_label_value(odd: list[tuple[str, str, str, str]]) -> None:
    metrics = make()
    for name in ("known", "unknown"):
        metrics.record(answered(routed_model=name, route=name, provider=name, endpoint=name, error_code=name))
        metrics.http_request(name, 404)
    before = set(samples(metrics))
    size = sum(len(kept) for kept in vars(metrics._recorder).values() if isinstance(kept, dict))
    for model, route, provider, code in odd:
        strange = attempt(group=f"x{model}", provider=f"x{provider}", error_code=f"x{code}", result="error")
        metrics.record(
            answered(
                routed_model=f"x{model}",
                route=f"x{route}",
                provider=f"x{provider}",
                endpoint=f"x{route}",
                attempts=(attempt(group="x", provider="x"), strange),
                error_code=f"x{code}",
                error_type=f"x{model}",
                error_source="provider",
            )
        )
        metrics.http_request(f"x{route}", 404)
    labels = {label for _, names in set(samples(metrics)) - before for label in names}
    assert {text for _, text in labels} <= {
        *("other", "none", "error", "ok", "first", "provider", "miss", "user"),
        *_known(),
    }
    assert size == sum(len(kept) for kept in vars(metrics._recorder).values() if isinstance(kept, dict))


def _known() -> set[str]:
    numbers = {str(bound) for row in DISTRIBUTIONS for bound in row.buckets} | {"+Inf"}
    return numbers | {f"{float(text)}" for text in numbers} | {"chat", "input", "output", "cached", "", "4xx"}


def test_every_series_has_help_and_a_sample_before_the_first_request() -> None:
    text, _ = make().render()
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    for row in (*COUNTERS, *DISTRIBUTIONS, *LEVELS):
        family = families.get(row.name)
        if row.name == "foreword_policy_info":  # its one label value is known when a policy is loaded
            continue
        assert family is not None, row.name
        assert family.documentation
        assert family.samples, row.name
        if row.name != "foreword_build_info":
            assert {sample.value for sample in family.samples} == {0.0}


def test_no_label_is_named_after_a_person_or_a_text() -> None:
    names = {label for row in (*COUNTERS, *DISTRIBUTIONS, *LEVELS) for label in row.labels}
    assert not names & {"tenant", "user", "key", "key_id", "session", "prompt", "message", "requested_model"}


def test_a_reload_adds_its_labels_and_keeps_the_counts() -> None:
    metrics = make()
    metrics.record(answered())
    metrics.record(answered(route="new"))
    metrics.update_labels(KnownLabels(models=KNOWN.models, providers=KNOWN.providers, routes=frozenset({"new"})))
    metrics.record(answered(route="new"))
    found = samples(metrics)
    for route in ("default", "other", "new"):
        assert value(found, "foreword_requests_total", route=route, model="small") == 1


def test_one_policy_version_is_in_force() -> None:
    metrics = make()
    metrics.policy_loaded("aaa")
    metrics.policy_rejected()
    metrics.policy_loaded("bbb")
    found = samples(metrics)
    assert value(found, "foreword_policy_info", version="aaa") == 0
    assert value(found, "foreword_policy_info", version="bbb") == 1
    assert value(found, "foreword_policy_reloads_total", result="loaded") == 2
    assert value(found, "foreword_policy_reloads_total", result="rejected") == 1


def test_processes_own_figures_are_published() -> None:
    metrics = make()
    metrics.in_flight_changed(1)
    metrics.redis_call("get", 0.002, failed=True)
    metrics.redis_call("no such command", 0.002, failed=False)
    metrics.ledger_dropped(7)
    metrics.http_request(CHAT, 503)
    metrics.warmer_told(
        Told(
            counts=(("foreword_warmer_events", (), 3),),
            levels=(("foreword_warmer_lag_seconds", (), 1.5), ("foreword_warmer_window_events", (), 9)),
        )
    )
    found = samples(metrics)
    assert value(found, "foreword_in_flight_requests") == 1
    assert value(found, "foreword_redis_failures_total") == 1
    assert value(found, "foreword_redis_duration_seconds_count", operation="get") == 1
    assert value(found, "foreword_redis_duration_seconds_count", operation="other") == 1
    assert value(found, "foreword_ledger_dropped_entries_total") == 7
    assert value(found, "foreword_http_requests_total", endpoint=CHAT, status="5xx") == 1
    assert value(found, "foreword_warmer_events_total") == 3
    assert value(found, "foreword_warmer_lag_seconds") == 1.5
    assert value(found, "foreword_warmer_window_events") == 9


async def test_a_late_event_loop_is_observed() -> None:
    metrics = make()

    class LateClock:
        """Each sleep takes 30 ms longer than asked; the third ends the test."""

        def __init__(self) -> None:
            self.time_s = 0.0
            self.left = 2

        def monotonic(self) -> float:
            return self.time_s

        def now(self) -> float:
            return self.time_s

        async def sleep(self, delay_s: float) -> None:
            if not self.left:
                raise asyncio.CancelledError
            self.left -= 1
            self.time_s += delay_s + 0.03

    with pytest.raises(asyncio.CancelledError):
        await watch_loop_lag(metrics, LateClock(), interval_s=0.1)
    found = samples(metrics)
    assert value(found, "foreword_event_loop_lag_seconds_bucket", le="0.025") == 0
    assert value(found, "foreword_event_loop_lag_seconds_bucket", le="0.05") == 2


PROCESS = """
import sys
from pathlib import Path
from gateway.metrics import KnownLabels, Metrics
from gateway.outcome import Outcome

directory = Path(sys.argv[1])
known = KnownLabels(routes=frozenset({"default"}), endpoints=frozenset({"chat"}))
metrics = Metrics(version="1", known=known, multiprocess_dir=directory)
for _ in range(int(sys.argv[2])):
    metrics.record(Outcome(request_id="r", origin="user", endpoint="chat", started_at=1.0,
                           result="ok", status=200, route="default", cache="miss", total_s=0.3, overhead_s=0.0004))
metrics.in_flight_changed(1)
metrics.policy_loaded("aaa")
metrics.flush()
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[3] == "render":
    sys.stdout.write(metrics.render()[0].decode())
"""


def test_two_processes_add_up_and_a_dead_one_leaves_its_counts_but_not_its_gauges(tmp_path: Path) -> None:
    environment = {**process_environment(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def start(count: int, then: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROCESS, str(tmp_path), str(count), then]
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )

    processes = [start(2, "leave"), start(3, "render"), start(0, "render")]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    first, second, third = processes
    found = parsed(second.communicate("\n")[0].encode())
    assert value(found, "foreword_requests_total", route="default", cache="miss") == 5
    assert value(found, "foreword_request_duration_seconds_count", route="default") == 5
    assert value(found, "foreword_overhead_seconds_bucket", cache="miss", le="0.0005") == 5
    assert value(found, "foreword_in_flight_requests") == 3
    assert value(found, "foreword_policy_info", version="aaa") == 1
    first.communicate("\n")
    forget = "import sys; from pathlib import Path; from gateway.metrics import forget_process;"
    forget += "[forget_process(int(pid), Path(sys.argv[1])) for pid in sys.argv[2:]]"
    gone = [str(first.pid), str(second.pid)]
    subprocess.run([sys.executable, "-c", forget, str(tmp_path), *gone], env=environment, check=True)
    found = parsed(third.communicate("\n")[0].encode())
    assert value(found, "foreword_requests_total", route="default", cache="miss") == 5
    assert value(found, "foreword_request_duration_seconds_count", route="default") == 5
    assert {file.name for file in tmp_path.glob("counter_*.db")} == {"counter_ended.db", f"counter_{third.pid}.db"}
    assert value(found, "foreword_in_flight_requests") == 1
